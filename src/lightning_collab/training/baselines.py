"""How well one does without any factors, on the same rows."""

import numpy as np

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.models.baselines import BiasBaseline


def baseline_metrics(data: RatingDataModule, *, test: bool = True) -> dict[str, float]:
    """RMSE of the mean and of user and item biases, on test, else on val.

    Args:
        data: split ratings; fitted to its training part.
        test: False: the test part is not looked at.

    Returns:
        `baseline/mean_rmse` and `baseline/bias_rmse`; nothing where there is no part to measure.
    """
    train = data.columns(data.rows.train)
    measured = data.columns(data.rows.test if test and len(data.rows.test) else data.rows.val)
    if not len(measured.ratings):
        return {}
    baseline = BiasBaseline.fit(
        train.users,
        train.items,
        train.ratings,
        user_rows=len(data.user_vocabulary),
        item_rows=len(data.item_vocabulary),
    )
    low, high = data.table.rating_range
    with_biases = baseline.predict(measured.users, measured.items).clip(low, high)
    return {
        "baseline/mean_rmse": _rmse(measured.ratings - baseline.mean),
        "baseline/bias_rmse": _rmse(measured.ratings - with_biases),
    }


def _rmse(errors: np.ndarray) -> float:
    return float(np.sqrt(np.square(errors, dtype=np.float64).mean()))

"""What any model must beat: the mean, and the biases of users and items."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lightning_collab.data.datamodule import RatingDataModule

BIAS_PENALTY = 5.0
TOLERANCE = 1e-6
# A sweep over ratings on disk takes a while, and the RMSE has its digits long before.
TOLERANCE_ON_DISK = 1e-4
MAX_SWEEPS = 200
SUMMED_AT_A_TIME = 1 << 22

Ids = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class BiasBaseline:
    """rating = mean + b_u + b_i, fitted by ridge regression.

    Koren (2010), "Factor in the neighbors", section 2.1: the minimum of
    sum (r - mean - b_u - b_i)^2 + penalty * (sum b_u^2 + sum b_i^2), found exactly by solving for
    users and items in turn until nothing moves any more.

    Attributes:
        mean: of the training ratings.
        user_bias: float64 [user rows]; 0 for users without training ratings.
        item_bias: float64 [item rows]; 0 for items without training ratings.
    """

    mean: float
    user_bias: Floats
    item_bias: Floats

    @classmethod
    def fit(
        cls,
        users: Ids,
        items: Ids,
        ratings: Floats,
        *,
        user_rows: int,
        item_rows: int,
        penalty: float = BIAS_PENALTY,
        tolerance: float = TOLERANCE,
    ) -> Self:
        """Fit to training ratings.

        Args:
            users: int [n].
            items: int [n].
            ratings: float [n].
            user_rows: length of the user bias.
            item_rows: length of the item bias.
            penalty: ridge penalty on every squared bias.
            tolerance: sweeps end when no bias of a user moves by more, in rating units.
        """
        mean = float(ratings.mean(dtype=np.float64))
        user_weight = _counts(users, user_rows) + penalty
        item_weight = _counts(items, item_rows) + penalty
        user_bias, item_bias = np.zeros(user_rows), np.zeros(item_rows)
        for _ in range(MAX_SWEEPS):
            before = user_bias
            residuals = _residual_sums(users, ratings, mean, items, item_bias, user_rows)
            user_bias = residuals / user_weight
            residuals = _residual_sums(items, ratings, mean, users, user_bias, item_rows)
            item_bias = residuals / item_weight
            if np.abs(user_bias - before).max() < tolerance:
                break
        return cls(mean, user_bias, item_bias)

    def predict(self, users: Ids, items: Ids) -> Floats:
        """Predicted ratings, float64 [n], not clamped."""
        predicted: Floats = self.mean + self.user_bias[users] + self.item_bias[items]
        return predicted


def one_sided(rows: Ids, ratings: Floats, mean: float, length: int) -> Floats:
    """Mean + b of users alone, or of items alone: means of their ratings, drawn to that of all.

    Args:
        rows: int [n], of one side.
        ratings: float [n].
        mean: of the ratings.
        length: rows of the side.

    Returns:
        float64 [length].
    """
    nothing = np.zeros(1)
    nobody = np.broadcast_to(np.int32(0), len(rows))
    sums = _residual_sums(rows, ratings, mean, nobody, nothing, length)
    alone: Floats = mean + sums / (_counts(rows, length) + BIAS_PENALTY)
    return alone


def _counts(rows: Ids, length: int) -> NDArray[np.int64]:
    """How often each row comes, with little memory beside the ratings."""
    counts = np.zeros(length, dtype=np.int64)
    for start in range(0, len(rows), SUMMED_AT_A_TIME):
        counts += np.bincount(rows[start : start + SUMMED_AT_A_TIME], minlength=length)
    return counts


def _residual_sums(
    rows: Ids, ratings: Floats, mean: float, others: Ids, bias: Floats, length: int
) -> Floats:
    """Sums of rating - mean - bias[other] for each row, with little memory beside the ratings."""
    sums = np.zeros(length)
    for start in range(0, len(rows), SUMMED_AT_A_TIME):
        part = slice(start, start + SUMMED_AT_A_TIME)
        residuals = ratings[part].astype(np.float64) - mean - bias[others[part]]
        sums += np.bincount(rows[part], residuals, minlength=length)
    return sums


def baseline_metrics(data: RatingDataModule, *, test: bool = True) -> dict[str, float]:
    """RMSE of the mean and of user and item biases, on test, else on val.

    Biases of both sides are best for ids with training ratings. Of new items, biases of users alone
    say more: who rates obscure items rates lower. The best of both sides, users alone and items
    alone is what a model must beat.

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
    sizes = {"user_rows": len(data.user_vocabulary), "item_rows": len(data.item_vocabulary)}
    tolerance = TOLERANCE if data.mapped is None else TOLERANCE_ON_DISK
    both = BiasBaseline.fit(
        train.users,
        train.items,
        train.ratings,
        user_rows=sizes["user_rows"],
        item_rows=sizes["item_rows"],
        tolerance=tolerance,
    )
    of_users = one_sided(train.users, train.ratings, both.mean, sizes["user_rows"])
    of_items = one_sided(train.items, train.ratings, both.mean, sizes["item_rows"])
    low, high = data.table.rating_range
    squares = np.zeros(4)
    count = len(measured.ratings)
    step = count if data.mapped is None else SUMMED_AT_A_TIME
    for start in range(0, count, step):
        users, items, ratings, _ = measured.taken(slice(start, start + step))
        predicted = (both.predict(users, items), of_users[users], of_items[items])
        errors = [ratings - both.mean, *(ratings - each.clip(low, high) for each in predicted)]
        squares += [np.square(each, dtype=np.float64).sum() for each in errors]
    mean, *biases = map(float, np.sqrt(squares / count))
    return {"baseline/mean_rmse": mean, "baseline/bias_rmse": min(biases)}


def rmse(errors: np.ndarray) -> float:
    """Root of the mean square, summed in float64."""
    return float(np.sqrt(np.square(errors, dtype=np.float64).mean()))

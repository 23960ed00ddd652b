import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lightning_collab.data.batches import RatingBatch
from lightning_collab.losses.squared_error import SquaredError
from lightning_collab.metrics.ratings import INTERVALS, LossMetric, RatingMetrics

ROW = st.tuples(
    st.integers(0, 2), st.integers(0, 2), st.floats(0.5, 5, width=32), st.floats(0.5, 5, width=32)
)


def batch_of(rows):
    users, items, ratings, predicted = (list(column) for column in zip(*rows, strict=True))
    batch = RatingBatch(
        torch.tensor(users, dtype=torch.int32),
        torch.tensor(items, dtype=torch.int32),
        torch.tensor(ratings),
    )
    return torch.tensor(predicted), batch


@given(parts=st.lists(st.lists(ROW, min_size=1, max_size=8), min_size=1, max_size=4))
@pytest.mark.parametrize("warm", [None, (1, 2)])
def test_as_by_hand_over_any_batches(parts, warm):
    metrics = RatingMetrics("val/")
    metrics.warm = warm
    for rows in parts:
        metrics.update(*batch_of(rows))
    found = {name: float(value) for name, value in metrics.compute().items()}
    rows = np.array([row for part in parts for row in part], dtype=np.float64)
    errors = rows[:, 3] - rows[:, 2]
    unknown = (rows[:, 0] == 0) | (rows[:, 1] == 0)
    most = warm or (np.inf, np.inf)
    cold = ~unknown & ((rows[:, 0] > most[0]) | (rows[:, 1] > most[1]))
    kinds = {"_warm": ~unknown & ~cold, "_cold": cold, "_unknown": unknown}
    expected = {}
    for suffix, which in {"": unknown | True, **kinds}.items():
        if which.any():
            expected[f"val/rmse{suffix}"] = np.sqrt(np.square(errors[which]).mean())
            expected[f"val/mae{suffix}"] = np.abs(errors[which]).mean()
    assert found == pytest.approx(expected, abs=1e-6)


def test_it_starts_anew_after_a_reset():
    metrics = RatingMetrics("test/")
    metrics.update(*batch_of([(0, 1, 3.0, 5.0)]))
    assert set(metrics.compute()) == {
        "test/rmse",
        "test/mae",
        "test/rmse_unknown",
        "test/mae_unknown",
    }
    metrics.reset()
    metrics.update(*batch_of([(1, 1, 3.0, 4.0)]))
    assert set(metrics.compute()) == {"test/rmse", "test/mae", "test/rmse_warm", "test/mae_warm"}


def test_the_widths_of_intervals_are_quantiles_of_the_normal_distribution():
    for percent, deviations in INTERVALS.items():
        assert deviations == pytest.approx(stats.norm.ppf(0.5 + percent / 200))


def test_the_mean_loss_of_all_batches():
    metric = LossMetric(SquaredError())
    predicted, target = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([2.0, 2.0, 3.0])
    for part in (slice(0, 2), slice(2, 3)):
        metric.update(predicted[part], target[part])
    assert metric.compute().item() == pytest.approx((1 + 0 + 4) / 3)

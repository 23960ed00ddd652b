"""RMSE, MAE and intervals by hand, and metrics of others beside ours."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support import composed
from torchmetrics import Metric

import lightning_collab
from lightning_collab.config import validated
from lightning_collab.data.batches import RatingBatch
from lightning_collab.errors import ConfigError
from lightning_collab.losses.loss import SquaredError
from lightning_collab.metrics.ratings import INTERVALS, LossMetric, RatingMetrics, RunMetrics
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train

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


class WithinOne(Metric):
    """Share of predictions at most one rating unit off."""

    name = "within_one"
    higher_is_better = True

    def __init__(self):
        super().__init__()
        for state in ("right", "rows"):
            self.add_state(state, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, predicted, batch):
        self.right += ((predicted - batch.ratings).abs() <= 1).sum()
        self.rows += len(predicted)

    def compute(self):
        return self.right / self.rows


@pytest.fixture(autouse=True)
def _registered():
    lightning_collab.register_metric(WithinOne)


def batch(*ratings):
    rows = torch.ones(len(ratings), dtype=torch.int32)
    return RatingBatch(rows, rows, torch.tensor(ratings))


def test_they_stand_beside_ours_and_begin_anew_after_a_reset():
    metrics = RunMetrics("val/", ["within_one"])
    metrics.update(torch.tensor([1.0, 3.0]), batch(1.5, 5.0))
    metrics.update(torch.tensor([4.0]), batch(4.0))
    found = metrics.compute()
    assert found["val/within_one"] == pytest.approx(2 / 3)
    assert {"val/rmse", "val/mae"} < set(found)
    metrics.reset()
    metrics.update(torch.tensor([1.0]), batch(5.0))
    assert metrics.compute()["val/within_one"] == 0


def test_they_leave_nothing_in_a_checkpoint():
    assert RunMetrics("val/", ["within_one"]).state_dict() == {}


def test_a_run_measures_them_and_picks_its_best_epoch_by_one(small_table, tmp_path):
    config = validated(
        composed(
            *("metrics.further=[within_one]", "callbacks.monitor=val/within_one"),
            *("trainer.max_epochs=3", "callbacks.progress_bar=false", "logger=none"),
            "scheduler=constant",
            "training.engine=eager",
        )
    )
    assert config.monitor_mode == "max"
    run = RunDirectory(tmp_path)
    data = load_data(config, small_table)
    metrics = train(config, run, data=data)
    assert 0 < metrics["val/within_one"] <= 1
    assert 0 < metrics["test/within_one"] <= 1
    best = torch.load(run.best_checkpoint, weights_only=True)["callbacks"]
    (state,) = (each for name, each in best.items() if "val/within_one" in name)
    assert float(state["best_model_score"]) == pytest.approx(metrics["val/within_one"])
    assert run.read_config().plugins == {"metrics.within_one": f"module {__name__}"}


def test_a_metric_for_which_less_is_better_is_monitored_so(run_config):
    class Worst(WithinOne):
        name = "worst"
        higher_is_better = False

    lightning_collab.register_metric(Worst)
    both = "metrics.further=[worst,within_one]"
    assert run_config(both, "callbacks.monitor=val/worst").monitor_mode == "min"
    assert run_config(both).monitor_mode == "min"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["metrics.further=[witin_one]"], r"metrics\.further: 'witin_one' .*mean 'within_one'"),
        (["metrics.further=[within_one,within_one]"], r"metrics\.further: a name is listed twice"),
        (["metrics.further=within_one"], r"metrics\.further: .*list"),
        (["callbacks.monitor=val/within_one"], r"set metrics\.further=\[within_one\]"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_data(typed, message, run_config):
    with pytest.raises(ConfigError, match=message):
        run_config(*typed)


class TwoNumbers(WithinOne):
    name = "two_numbers"

    def compute(self):
        return torch.stack([self.right, self.rows])


class Words(WithinOne):
    name = "words"

    def compute(self):
        return "good"


class WantsUsers(WithinOne):
    name = "wants_users"

    def update(self, predicted, batch):
        self.rows += batch.user_names.sum()


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (TwoNumbers, r"TwoNumbers\.compute must return one number, and gave \[2\]"),
        (Words, r"Words\.compute must return one number, and gave 'good'"),
        (WantsUsers, r"WantsUsers must take update\(predicted, batch\).*AttributeError: .*user_na"),
    ],
)
def test_one_that_breaks_its_contract_is_named_before_the_first_step(metric, message):
    lightning_collab.register_metric(metric)
    with pytest.raises(ConfigError, match=message):
        RunMetrics("val/", [metric.name])

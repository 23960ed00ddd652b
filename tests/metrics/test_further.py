"""Metrics of others are measured beside ours, at validation and test."""

import pytest
import torch
from support import composed
from torchmetrics import Metric

import lightning_collab
from lightning_collab.config import validated
from lightning_collab.data.batches import RatingBatch
from lightning_collab.errors import ConfigError
from lightning_collab.metrics.further import RunMetrics
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train


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

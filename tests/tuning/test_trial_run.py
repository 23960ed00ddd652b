"""A trial reports, is pruned, keeps what it has, and never looks at the test part."""

import json

import optuna
import pytest
import torch

from lightning_collab.config import RunConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.errors import ConfigError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train
from lightning_collab.tuning.trial_run import (
    PreparedData,
    PruneTrial,
    needs_subprocess,
    report_to,
    run_in_process,
    trial_config,
    write_outcome,
)


class SmallData(PreparedData):
    """The made-up table, and a test part that nobody may ask for."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def of(self, config: RunConfig) -> RatingDataModule:
        data = load_data(config, self.table)

        def forbidden():
            raise AssertionError("a trial looked at the test part")

        data.test_dataloader = forbidden
        return data


@pytest.fixture
def config(run_config):
    return trial_config(run_config("trainer.max_epochs=4", "data.batch_size=64", "model.factors=2"))


def run(config, tmp_path, table, report, objective="val/rmse", parent=None):
    callback = PruneTrial(report, objective, config.trainer.max_epochs, parent)
    return run_in_process(config, tmp_path / "trial", callback, SmallData(table))


def test_a_whole_trial_reports_each_epoch_and_ends_with_validation_alone(
    config, tmp_path, small_table
):
    study = optuna.create_study()
    trial = study.ask()
    outcome = run(config, tmp_path, small_table, report_to(trial))
    reported = study.get_trials()[0].intermediate_values
    assert outcome.state == "complete"
    assert list(reported) == [1, 2, 3, 4]
    assert outcome.metrics["val/rmse"] == pytest.approx(min(reported.values()))
    assert not [key for key in outcome.metrics if key.startswith("test/")]
    assert outcome.epochs == 4
    assert not (tmp_path / "trial" / "tensorboard").exists()


def test_a_pruned_trial_keeps_its_directory_and_its_last_numbers(config, tmp_path, small_table):
    outcome = run(config, tmp_path, small_table, lambda epochs, value: epochs == 2)
    assert outcome.state == "pruned"
    assert outcome.epochs == 2
    assert outcome.seconds > 0
    assert 0 < outcome.metrics["val/rmse"] < 5
    write_outcome(outcome, tmp_path / "trial", number=3)
    kept = json.loads((tmp_path / "trial" / "trial.json").read_text())
    assert kept["number"] == 3
    assert kept["metrics"] == outcome.metrics
    assert (tmp_path / "trial" / "config.yaml").is_file()
    assert not (tmp_path / "trial" / "metrics.json").exists()


def test_a_trial_that_has_come_to_its_last_epoch_is_complete(config, tmp_path, small_table):
    outcome = run(config, tmp_path, small_table, lambda epochs, value: epochs == 4)
    assert outcome.state == "complete"


def test_a_trial_that_fails_says_why(config, tmp_path, small_table):
    def broken(epochs, value):
        raise ZeroDivisionError("no such luck")

    outcome = run(config, tmp_path, small_table, broken)
    assert outcome.state == "failed"
    assert outcome.error == "ZeroDivisionError: no such luck"
    assert "broken" in outcome.traceback
    assert "no such luck" in (tmp_path / "trial" / "train.log").read_text()


def test_an_objective_that_is_not_measured_is_named(config, tmp_path, small_table):
    outcome = run(config, tmp_path, small_table, lambda epochs, value: False, "val/rnse")
    assert outcome.state == "failed"
    assert "val/rnse is not measured after an epoch; known here:" in outcome.error


def test_a_trial_whose_sweep_has_gone_stops(config, tmp_path, small_table):
    outcome = run(config, tmp_path, small_table, lambda epochs, value: False, parent=1)
    assert outcome.state == "interrupted"
    assert outcome.epochs == 0


def test_the_same_trial_twice_in_a_process_has_the_same_numbers(config, tmp_path, small_table):
    first, second = (
        run(config, tmp_path / str(number), small_table, lambda epochs, value: False)
        for number in range(2)
    )
    assert first.metrics["val/rmse"] == second.metrics["val/rmse"]
    assert torch.get_num_threads() >= 1


def test_data_is_loaded_once_a_process(run_config, monkeypatch, small_table):
    from lightning_collab.tuning import trial_run

    loads = []
    monkeypatch.setattr(
        trial_run, "load_ratings", lambda config, **_: loads.append(config) or small_table
    )
    data = PreparedData()
    first = data.of(run_config("optimizer.lr=0.1"))
    assert data.of(run_config("optimizer.lr=0.2", "model.factors=3")) is first
    other = data.of(run_config("data.batch_size=7"))
    assert other is not first
    assert other.batches_per_epoch > first.batches_per_epoch
    assert data.of(run_config("split.seed=1")).rows.train.tolist() != first.rows.train.tolist()
    assert len(loads) == 1
    data.of(run_config("data.root=/elsewhere"))
    assert len(loads) == 2


@pytest.mark.parametrize(
    ("overrides", "apart"),
    [((), False), (("trainer=ddp_cpu",), True), (("trainer=ddp_cpu", "trainer.devices=3"), True)],
)
def test_several_ranks_need_a_process_of_their_own(overrides, apart, run_config):
    assert needs_subprocess(run_config(*overrides)) is apart


def test_several_machines_are_refused(run_config):
    with pytest.raises(ConfigError, match=r"trainer\.num_nodes=2"):
        needs_subprocess(run_config("trainer=ddp_cpu", "trainer.num_nodes=2"))


@pytest.mark.parametrize("model", ["embedding_dot_bias", "least_squares_factors"])
def test_a_trial_trains_as_a_run_of_its_own_does(model, run_config, tmp_path):
    config = trial_config(
        run_config(f"model={model}", "data=synthetic", "data.ratings=2000", "trainer.max_epochs=2")
    )
    (tmp_path / "run").mkdir()
    alone = train(config, RunDirectory(tmp_path / "run"))
    callback = PruneTrial(lambda epochs, value: False, "val/rmse", 2)
    outcome = run_in_process(config, tmp_path / "trial", callback, PreparedData())
    assert outcome.metrics["val/rmse"] == alone["val/rmse"]

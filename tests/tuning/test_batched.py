"""Trials side by side: each is the trial that it would be alone, whatever happens to the others."""

import json

import optuna
import pytest
import torch

from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.training.build import load_data
from lightning_collab.tuning.batched import BatchedTrial, run_batch
from lightning_collab.tuning.trial_run import PreparedData, PruneTrial, run_in_process, trial_config

OF_THE_CLOCK = ("fit_seconds", "train_ratings_per_second", "peak_rss_bytes")
RUN = ("trainer.max_epochs=4", "data.batch_size=64", "model.factors=5")
BESIDE = (
    ("optimizer.lr=0.02", "optimizer.weight_decay=0.1"),
    ("optimizer.lr=0.004", "optimizer.groups.biases.weight_decay=0.01", "seed=7"),
    ("optimizer.groups.biases.lr_scale=3", "seed=7", "model.init_range=0.1"),
    ("optimizer.groups.embeddings.lr_scale=0",),
)


class TableData(PreparedData):
    """Of a table that is there."""

    def __init__(self, table):
        super().__init__()
        self.table, self.kept = table, {}

    def of(self, config):
        key = (config.seed, config.batch_size, config.data.order)
        if key not in self.kept:
            self.kept[key] = load_data(config, self.table)
        return self.kept[key]


def reporting(config, prune_at=None):
    """A callback that keeps what it is told, and prunes after an epoch."""
    told = []

    def report(epochs, value):
        told.append((epochs, value))
        return epochs == prune_at

    callback = PruneTrial(report, "val/rmse", config.trainer.max_epochs)
    return callback, told


def alone(config, folder, table, prune_at=None):
    callback, told = reporting(config, prune_at)
    return run_in_process(config, folder, callback, TableData(table)), told


def side_by_side(configs, folder, table, prune_at=(), threads=2):
    prune_at = prune_at or [None] * len(configs)
    callbacks = [reporting(*each) for each in zip(configs, prune_at, strict=True)]
    trials = [
        BatchedTrial(config, folder / str(number), callback)
        for number, (config, (callback, _)) in enumerate(zip(configs, callbacks, strict=True))
    ]
    outcomes = {}
    run_batch(trials, TableData(table), threads, outcomes.__setitem__)
    return [(outcomes[trial], told) for trial, (_, told) in zip(trials, callbacks, strict=True)]


def numbers(outcome):
    return {key: value for key, value in outcome.metrics.items() if key not in OF_THE_CLOCK}


def check_same(batched, by_itself):
    (outcome, told), (of_alone, told_alone) = batched, by_itself
    assert told == told_alone
    assert numbers(outcome) == numbers(of_alone)
    assert (outcome.state, outcome.epochs) == (of_alone.state, of_alone.epochs)
    assert outcome.error == (of_alone.error and of_alone.error.split("\nThe last good")[0])


def weights(folder):
    return read_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"]


@pytest.mark.parametrize(
    "given",
    [
        (),
        ("optimizer=sgd", "data.order=by_user", "trainer.gradient_clip_val=0.5"),
        ("optimizer=adamw", "scheduler=one_cycle", "model.output=linear"),
        ("optimizer=sgd", "optimizer.momentum=0", "data.batch_size=1", "optimizer.decay=per_row"),
        ("callbacks.early_stopping.patience=1", "optimizer.lr=0.3", "trainer.max_epochs=9"),
    ],
)
def test_each_trial_is_the_one_that_it_would_be_alone(given, run_config, small_table, tmp_path):
    base = ("callbacks=early_stopping",) if given and "early" in given[0] else ()
    configs = [trial_config(run_config(*base, *RUN, *given, *each)) for each in BESIDE]
    batched = side_by_side(configs, tmp_path / "batched", small_table)
    for number, (config, each) in enumerate(zip(configs, batched, strict=True)):
        check_same(each, alone(config, tmp_path / str(number), small_table))
        of_alone = weights(tmp_path / str(number))
        for name, tensor in weights(tmp_path / "batched" / str(number)).items():
            assert torch.equal(tensor, of_alone[name])
        kept = json.loads((tmp_path / "batched" / str(number) / "metrics.json").read_text())
        assert kept == each[0].metrics
        files = {path.name for path in (tmp_path / "batched" / str(number)).iterdir()}
        assert files == {"config.yaml", "metrics.json", "train.log", "checkpoints"}
    if base:
        assert any(outcome.epochs < 9 for outcome, _ in batched)


def test_the_numbers_do_not_depend_on_threads_or_on_who_is_beside(
    run_config, small_table, tmp_path
):
    configs = [trial_config(run_config(*RUN, *each)) for each in BESIDE]
    first = side_by_side(configs, tmp_path / "3", small_table, threads=3)
    second = side_by_side(configs[1:3], tmp_path / "1", small_table, threads=1)
    for one, other in zip(first[1:3], second, strict=True):
        assert numbers(one[0]) == numbers(other[0])


def test_who_is_pruned_or_diverges_leaves_the_others_alone(run_config, small_table, tmp_path):
    typed = (*BESIDE, ("optimizer.lr=1e6", "seed=7"))
    sgd = ("optimizer=sgd", "model.output=linear", "optimizer.momentum=0")
    configs = [trial_config(run_config(*RUN, *sgd, "scheduler=constant", *each)) for each in typed]
    prune_at = [1, None, 3, None, None]
    batched = side_by_side(configs, tmp_path / "batched", small_table, prune_at)
    assert [each.state for each, _ in batched] == [
        *("pruned", "complete", "pruned", "complete", "failed")
    ]
    assert "lower optimizer.lr" in batched[-1][0].error
    for number, (config, each) in enumerate(zip(configs, batched, strict=True)):
        check_same(each, alone(config, tmp_path / str(number), small_table, prune_at[number]))


def test_a_fault_of_one_trial_is_kept_with_its_traceback(run_config, small_table, tmp_path):
    configs = [trial_config(run_config(*RUN, *each)) for each in BESIDE[:2]]

    def broken(epochs, value):
        raise ZeroDivisionError("no such luck")

    callbacks = [PruneTrial(broken, "val/rmse", 4), reporting(configs[1])[0]]
    trials = [
        BatchedTrial(config, tmp_path / str(number), callback)
        for number, (config, callback) in enumerate(zip(configs, callbacks, strict=True))
    ]
    outcomes = {}
    run_batch(trials, TableData(small_table), 2, outcomes.__setitem__)
    assert outcomes[trials[0]].error == "ZeroDivisionError: no such luck"
    assert "broken" in outcomes[trials[0]].traceback
    assert "no such luck" in (tmp_path / "0" / "train.log").read_text()
    assert outcomes[trials[1]].state == "complete"


def test_a_batch_whose_sweep_has_gone_stops(run_config, small_table, tmp_path):
    config = trial_config(run_config(*RUN))
    trials = [
        BatchedTrial(config, tmp_path / str(n), PruneTrial(None, "val/rmse", 4, parent=-1))
        for n in range(2)
    ]
    outcomes = {}
    run_batch(trials, TableData(small_table), 2, outcomes.__setitem__)
    assert [each.state for each in outcomes.values()] == ["interrupted"] * 2


@pytest.mark.slow
def test_real_ratings_with_items_that_have_no_training_ratings(run_config, ml_100k, tmp_path):
    typed = [("optimizer.lr=0.002",), ("optimizer.lr=0.004", "seed=43")]
    configs = [trial_config(run_config("trainer.max_epochs=3", *each)) for each in typed]
    batched = side_by_side(configs, tmp_path / "batched", ml_100k)
    for number, (config, each) in enumerate(zip(configs, batched, strict=True)):
        check_same(each, alone(config, tmp_path / str(number), ml_100k))
        assert each[0].metrics["val/rmse_cold"] > 0


def test_a_trial_reports_to_its_study(run_config, small_table, tmp_path):
    study = optuna.create_study()
    config = trial_config(run_config(*RUN))
    asked = [study.ask(), study.ask()]
    trials = [
        BatchedTrial(
            config,
            tmp_path / str(each.number),
            PruneTrial(lambda epochs, value, each=each: each.report(value, epochs), "val/rmse", 4),
        )
        for each in asked
    ]
    run_batch(trials, TableData(small_table), 2, lambda trial, outcome: None)
    for each in study.get_trials():
        assert list(each.intermediate_values) == [1, 2, 3, 4]

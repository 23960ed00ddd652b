"""The mean of the predictions of the cycles of a run."""

import numpy as np
import pytest
import torch

from lightning_collab.errors import CheckpointError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.evaluation import snapshot_ensemble
from lightning_collab.training.run import train

CYCLES = ("scheduler=warm_restarts", "scheduler.cycle_len=1", "trainer.max_epochs=7")


@pytest.fixture
def trained(run_config, small_table, tmp_path):
    def run(*overrides):
        config = run_config(
            "logger=none", "callbacks.progress_bar=false", "data.batch_size=50", *overrides
        )
        data = load_data(config, small_table)
        directory = RunDirectory(tmp_path / "run")
        metrics = train(config, directory, data=data)
        return build_module(config, data), data, directory, metrics

    return run


def test_the_mean_of_the_predictions_by_hand(trained):
    module, data, directory, _ = trained(*CYCLES)
    snapshots = snapshot_ensemble(module, data, directory)
    assert [each.cycle for each in snapshots] == [1, 2, 3]
    (batch,) = data.whole_batches(data.rows.test)
    predictions = []
    for cycle in (1, 2, 3):
        path = directory.checkpoints / f"cycle-{cycle}.ckpt"
        module.load_trained(read_checkpoint(path), path)
        with torch.no_grad():
            predictions.append(module.eval()(batch).clamp(1, 5).numpy())
    actual = batch.ratings.numpy()
    for number, each in enumerate(snapshots):
        alone = np.sqrt(np.mean((predictions[number] - actual) ** 2))
        together = np.sqrt(np.mean((np.mean(predictions[number:], axis=0) - actual) ** 2))
        assert each.single["test"] == pytest.approx(alone, rel=1e-5)
        assert each.averaged["test"] == pytest.approx(together, rel=1e-5)
    assert snapshots[-1].single == snapshots[-1].averaged


def test_the_last_cycle_is_the_last_checkpoint_of_a_run_that_ends_with_it(trained):
    module, data, directory, metrics = trained(*CYCLES, "split.val=0")
    (*_, last) = snapshot_ensemble(module, data, directory)
    assert last.single == {"test": pytest.approx(metrics["test/rmse"], rel=1e-5)}


def test_a_run_without_cycles_has_nothing_to_average(trained):
    module, data, directory, _ = trained("scheduler=constant", "trainer.max_epochs=1")
    with pytest.raises(CheckpointError, match="scheduler=warm_restarts"):
        snapshot_ensemble(module, data, directory)

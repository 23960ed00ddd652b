"""A loss that explodes, or weights that are no numbers, stop a run; what it kept is good."""

import pytest
import pytorch_lightning as pl
import torch

from lightning_collab.errors import TrainingError
from lightning_collab.losses.loss import EXPLODED
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train


class AtStep(pl.Callback):
    """Does something to the model after one optimizer step."""

    def __init__(self, step, change):
        self.step = step
        self.change = change

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step == self.step:
            with torch.no_grad():
                self.change(pl_module.model)


@pytest.fixture
def run_with(small_table, run_config, tmp_path):
    """Train on 480 of 600 ratings, 8 steps an epoch; the run directory is `tmp_path`."""

    def run(*overrides, callbacks=()):
        config = run_config(
            "callbacks.progress_bar=false",
            "logger=none",
            "trainer.max_epochs=4",
            "data.batch_size=60",
            "training.engine=eager",
            "scheduler=constant",
            "model.factors=4",
            *overrides,
        )
        data = load_data(config, small_table)
        return train(config, RunDirectory(tmp_path), data=data, callbacks=callbacks)

    return run


def assert_last_good(path, epochs, raised):
    """last.ckpt is of that epoch, and is named; all its numbers are numbers."""
    last = RunDirectory(path).last_checkpoint
    assert f"The last good checkpoint, of epoch {epochs}, is {last}" in str(raised.value)
    content = read_checkpoint(last)
    assert content["global_step"] == epochs * 8
    assert all(
        torch.isfinite(w).all() for w in content["state_dict"].values() if w.is_floating_point()
    )


def scaled(model):
    model.parameter_groups()["embeddings"][0].mul_(1e8)


def spoilt(model):
    model.parameter_groups()["embeddings"][0][3] = torch.nan


def test_an_exploding_loss_is_named_while_it_is_still_a_number(run_with, tmp_path):
    change = AtStep(17, scaled)
    with pytest.raises(
        TrainingError, match=r"the training loss is exploding: .*\(epoch 3\)"
    ) as raised:
        run_with("model.output=linear", "optimizer.decay=gradient", callbacks=[change])
    assert "lower optimizer.lr" in str(raised.value)
    assert_last_good(tmp_path, 2, raised)


def test_a_high_rate_explodes_by_itself_before_any_checkpoint(run_with, tmp_path):
    with pytest.raises(TrainingError, match=r"no longer a number|exploding") as raised:
        run_with(
            "model=matrix_product", "optimizer=sgd", "optimizer.lr=50", "optimizer.decay=gradient"
        )
    assert "last good" not in str(raised.value)
    assert not list(tmp_path.glob("checkpoints/*.ckpt"))


def test_weights_spoilt_by_the_last_step_of_an_epoch_are_not_kept(run_with, tmp_path):
    """The loss of that epoch is a number: it was computed before the step."""
    with pytest.raises(
        TrainingError, match="the weights are no longer numbers at step 16"
    ) as raised:
        run_with(callbacks=[AtStep(16, spoilt)])
    assert_last_good(tmp_path, 1, raised)


def test_a_loss_that_is_no_number_is_named_within_the_epoch(run_with, tmp_path):
    with pytest.raises(
        TrainingError, match=r"no longer a number at step 1[89] \(epoch 3\)"
    ) as raised:
        run_with("trainer.log_every_n_steps=1", callbacks=[AtStep(17, spoilt)])
    assert_last_good(tmp_path, 2, raised)


def test_a_bad_start_is_no_explosion(run_with):
    """Twenty times the scale is bad, and may still be learned away."""
    change = AtStep(1, lambda model: model.parameter_groups()["biases"][0].add_(20.0))
    run_with("model.output=linear", "optimizer.decay=gradient", callbacks=[change])
    assert EXPLODED > 20

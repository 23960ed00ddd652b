"""Means of the weights: what they are, and that runs go on with them; ends of cycles."""

import logging

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import composed

from lightning_collab.config import validated
from lightning_collab.config.optimizer import WarmRestartsConfig
from lightning_collab.errors import ConfigError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.callbacks.averaging import warn_of_unfinished_cycle
from lightning_collab.training.run import train

SMALL = (
    "logger=none",
    "callbacks.progress_bar=false",
    "data.batch_size=100",
    "model.factors=3",
    "trainer.max_epochs=4",
    "scheduler=constant",
    "optimizer.lr=0.05",
)
NAME = "model.user_factors.weight"


class Weights(pl.Callback):
    """The weights under training after each step or block, and the metric of each validation."""

    takes_blocks = True

    def __init__(self):
        self.steps, self.measured = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.steps.append(pl_module.model.user_factors.weight.detach().clone())

    def on_train_epoch_end(self, trainer, pl_module):
        self.measured.append(float(trainer.callback_metrics["val/rmse"]))


@pytest.fixture
def trained(run_config, small_table, tmp_path):
    def run(*overrides, folder="run", **more):
        config = run_config(*SMALL, *overrides)
        data = load_data(config, small_table)
        directory = RunDirectory(tmp_path / folder)
        weights = Weights()
        metrics = train(config, directory, callbacks=[weights], data=data, **more)
        return directory, weights, metrics

    return run


def kept(directory, which="last"):
    state = read_checkpoint(directory.checkpoints / f"{which}.ckpt")
    return state["state_dict"][NAME], state


def test_an_exponential_mean_by_hand(trained):
    directory, weights, _ = trained(
        "averaging=ema", "averaging.decay=0.8", "averaging.from_epoch=1"
    )
    mean = None
    for step in weights.steps[5:]:
        mean = step if mean is None else 0.8 * mean + 0.2 * step
    assert torch.allclose(kept(directory)[0][1:], mean[1:], atol=1e-6)


@pytest.mark.parametrize("engine", ["eager", "fused"])
def test_the_mean_of_the_ends_of_epochs_by_hand(trained, engine):
    directory, weights, _ = trained(
        "averaging=swa", "averaging.from_epoch=1", f"training.engine={engine}"
    )
    ends = weights.steps[-1:] if engine == "fused" else weights.steps[9::5]
    if engine == "fused":
        ends = weights.steps[1:]
    assert len(ends) == 3
    assert torch.allclose(kept(directory)[0][1:], torch.stack(ends).mean(0)[1:], atol=1e-6)


def test_the_mean_of_the_ends_of_cycles(trained):
    directory, weights, _ = trained(
        "averaging=swa",
        "averaging.every=cycle",
        "scheduler=warm_restarts",
        "scheduler.cycle_len=2",
        "scheduler.cycle_mult=1",
        "training.engine=eager",
    )
    mean = torch.stack([weights.steps[9], weights.steps[19]]).mean(0)
    assert torch.allclose(kept(directory)[0][1:], mean[1:], atol=1e-6)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_run_that_is_resumed_is_the_run_that_was_not_stopped(trained, kind):
    whole, weights, metrics = trained(f"averaging={kind}")
    trained(f"averaging={kind}", "trainer.max_epochs=2", folder="halves")
    halves, _, later = trained(f"averaging={kind}", folder="halves", resume=True)
    for key in ("state_dict", "current_model_state"):
        one, two = (kept(each)[1][key] for each in (whole, halves))
        assert all(torch.equal(one[name], two[name]) for name in one), key
    assert later["test/rmse"] == metrics["test/rmse"]
    assert not torch.equal(kept(whole)[0], weights.steps[-1]), "the mean is not the last"


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_what_is_validated_is_what_the_best_checkpoint_holds(trained, kind):
    _, weights, metrics = trained(f"averaging={kind}")
    assert metrics["val/rmse"] == pytest.approx(min(weights.measured), abs=1e-6)


def test_unknown_rows_are_the_mean_of_the_averaged_known_rows(trained):
    directory, _, _ = trained("averaging=ema")
    table = kept(directory)[0]
    assert torch.allclose(table[0], table[1:].mean(0), atol=1e-6)


def test_each_key_changes_the_result(trained):
    results = [
        trained("training.engine=eager", *overrides, folder=str(number))[2]["val/loss"]
        for number, overrides in enumerate(
            [
                (),
                ("averaging=ema",),
                ("averaging=ema", "averaging.decay=0.9"),
                ("averaging=ema", "averaging.from_epoch=2"),
                ("averaging=swa",),
                ("averaging=swa", "averaging.from_epoch=2"),
            ]
        )
    ]
    assert len(set(results)) == len(results)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["averaging=swa", "averaging.every=cycle", "scheduler=constant"], "has no cycles"),
        (["averaging=ema", "averaging.from_epoch=15"], "leaves nothing to average"),
        (["averaging=ema", "averaging.decay=1.0"], r"averaging\.decay"),
        (["averaging=ema", "model=least_squares_factors"], "trained without"),
        (["averaging=ema", "training.engine=fused"], "averaging=ema needs each"),
    ],
)
def test_what_cannot_be_averaged_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        validated(composed(*overrides))


def restarts(cycle_len, cycle_mult):
    return WarmRestartsConfig(
        name="warm_restarts", cycle_len=cycle_len, cycle_mult=cycle_mult, eta_min=0.0
    )


def test_the_lectures_cycles():
    assert restarts(1, 2).cycle_ends(15) == [1, 3, 7, 15]
    assert restarts(1, 2).cycle_ends(14) == [1, 3, 7]
    assert restarts(2, 1).cycle_ends(7) == [2, 4, 6]
    assert restarts(2.5, 1).cycle_ends(5) == [2.5, 5]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 60))
def test_cycles_follow_one_another_and_grow(cycle_len, mult, epochs):
    ends = restarts(cycle_len, mult).cycle_ends(epochs)
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert lengths == [cycle_len * mult**n for n in range(len(ends))]
    assert all(end <= epochs for end in ends)


@pytest.mark.parametrize(
    ("cycle_len", "mult", "epochs", "said"),
    [
        (1, 2, 7, None),
        (4, 1, 8, None),
        (1, 2, 10, "7 or 15 would not"),
        (1, 1, 3, None),
        (4, 3, 3, "; 4 would not"),
        (2.5, 1, 4, "; 5 would not"),
    ],
)
def test_a_run_that_ends_in_mid_cycle_is_warned_of(cycle_len, mult, epochs, said, caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_unfinished_cycle(restarts(cycle_len, mult), epochs)
    assert (said in caplog.text) if said else not caplog.text

"""A run is the same whatever engine takes its steps."""

import json
import os
import signal

import pytest
import pytorch_lightning as pl
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_collab.compat import loader_position
from lightning_collab.errors import ConfigError, TrainingError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training import engine
from lightning_collab.training.build import load_data
from lightning_collab.training.run import InterruptedRunError, train

# Double precision, so that equal steps give equal numbers.
QUICK = (
    "callbacks.progress_bar=false",
    "logger=none",
    "model.factors=4",
    "data.batch_size=16",
    "trainer.max_epochs=3",
    "trainer.precision=64-true",
    "optimizer.lr=0.02",
    "model.init_range=0.3",
)


def data_of(config, table):
    return load_data(config, table)


@pytest.fixture
def trained(small_table, run_config, tmp_path):
    count = iter(range(100))

    def run(*overrides, resume=None, into=None, **options):
        config = run_config(*QUICK, *overrides)
        directory = resume or into or RunDirectory(tmp_path / f"run{next(count)}")
        directory.path.mkdir(exist_ok=True)
        data = data_of(config, small_table)
        return train(config, directory, resume=resume is not None, data=data, **options), directory

    return run


def checkpoint(run, name="last"):
    return read_checkpoint(run.checkpoints / f"{name}.ckpt")


def assert_alike(one, two, atol=1e-9):
    """Two checkpoints, but for rounding and for what only one kind of loop has."""
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(value, two["state_dict"][name], atol=atol, rtol=0)
    for mine, other in zip(one["optimizer_states"], two["optimizer_states"], strict=True):
        assert mine["param_groups"] == other["param_groups"]
        torch.testing.assert_close(mine["state"], other["state"], atol=atol, rtol=0)
    for key in ("epoch", "steps_done"):
        assert one[key] == two[key]
    positions = [loader_position(each) for each in (one, two)]
    for key in ("epoch", "next_batch"):
        assert positions[0][key] == positions[1][key]
    # What Lightning itself has counted are blocks and single steps; epochs are alike.
    progress = [each["loops"]["fit_loop"]["epoch_progress"]["current"] for each in (one, two)]
    for key in ("processed", "completed"):
        assert progress[0][key] == progress[1][key]


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer=sgd", "optimizer.lr=0.05", "scheduler=one_cycle"),
        ("optimizer=adam", "scheduler.cycle_len=0.3", "callbacks=early_stopping"),
        ("model=matrix_product", "optimizer=adamw", "trainer.limit_train_batches=7"),
        ("data.batch_size=full", "trainer.gradient_clip_val=0.01"),
        ("features=everything", "optimizer.decay=per_row", "optimizer.weight_decay=0.1"),
        ("model=embedding_net", "scheduler.cycle_len=0.3", "trainer.gradient_clip_val=0.1"),
    ],
    ids=["sgd", "restarts", "limited", "full batch", "features", "net"],
)
def test_a_fused_run_is_an_eager_run(trained, overrides):
    eager, fused = (trained(*overrides, f"training.engine={e}") for e in ("eager", "fused"))
    for name in ("best", "last"):
        assert_alike(checkpoint(eager[1], name), checkpoint(fused[1], name))
    for key in ("val/rmse", "val/mae", "val/loss", "test/rmse", "epochs"):
        assert fused[0][key] == pytest.approx(eager[0][key], rel=1e-6)
    names = [sorted(path.name for path in run.checkpoints.iterdir()) for _, run in (eager, fused)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.startswith("cycle"):
            stems = name.removesuffix(".ckpt")
            assert_alike(checkpoint(eager[1], stems), checkpoint(fused[1], stems))


class PressCtrlC(pl.Callback):
    """As soon as so many optimizer steps are done."""

    takes_blocks = True

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_start(self, trainer, module, *rest):
        if module.steps_done >= self.steps:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("with_", ["features=none", "features=everything", "model=embedding_net"])
@pytest.mark.parametrize(("first", "then"), [("eager", "fused"), ("fused", "eager")])
def test_a_run_is_resumed_in_mid_epoch_by_the_other_engine(trained, tmp_path, first, then, with_):
    # Half cycles, so that a block of fused steps ends in the middle of an epoch.
    options = ("scheduler.cycle_len=0.5", "scheduler.cycle_mult=1", with_)
    _, whole = trained(*options, "training.engine=eager")
    half = RunDirectory(tmp_path / "half")
    with pytest.raises(InterruptedRunError):
        trained(*options, f"training.engine={first}", into=half, callbacks=[PressCtrlC(30)])
    stopped = checkpoint(half)
    assert stopped["steps_done"] % 30 != 0
    metrics, _ = trained(*options, f"training.engine={then}", resume=half)
    # Lightning takes back the weights before it makes them double: they are rounded to single.
    for name in ("last", "best"):
        assert_alike(checkpoint(whole, name), checkpoint(half, name), atol=1e-6)
    expected = json.loads(whole.metrics_file.read_text())["val/rmse"]
    assert metrics["val/rmse"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("first", "then"), [("eager", "fused"), ("fused", "eager")])
@pytest.mark.parametrize("stop", [10, 20], ids=["in the last step of an epoch", "two epochs on"])
def test_a_run_is_resumed_at_the_end_of_an_epoch_by_the_other_engine(
    trained, tmp_path, first, then, stop
):
    """Lightning has counted ten batches of the epoch, or one block."""
    options = ("data.batch_size=48", "scheduler=constant", "trainer.max_epochs=5")
    _, whole = trained(*options, "training.engine=eager")
    half = RunDirectory(tmp_path / "half")
    with pytest.raises(InterruptedRunError):
        trained(*options, f"training.engine={first}", into=half, callbacks=[PressCtrlC(stop - 1)])
    assert checkpoint(half)["steps_done"] % 10 == 0
    trained(*options, f"training.engine={then}", resume=half)
    assert_alike(checkpoint(whole), checkpoint(half), atol=1e-6)


@pytest.mark.parametrize(("first", "then"), [("eager", "fused"), ("fused", "eager")])
def test_a_finished_run_goes_on_with_the_other_engine(trained, first, then):
    options = ("data.batch_size=48", "scheduler=constant")
    _, whole = trained(*options, "training.engine=eager", "trainer.max_epochs=4")
    _, half = trained(*options, f"training.engine={first}", "trainer.max_epochs=2")
    trained(*options, f"training.engine={then}", "trainer.max_epochs=4", resume=half)
    assert_alike(checkpoint(whole), checkpoint(half), atol=1e-6)
    assert checkpoint(half)["steps_done"] == 40


def test_the_curves_have_the_same_points(trained):
    points = []
    for each in ("eager", "fused"):
        overrides = ("logger=tensorboard", "trainer.log_every_n_steps=7")
        groups = "optimizer.groups.biases.lr_scale=0.5"
        _, run = trained(*overrides, groups, f"training.engine={each}")
        events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0}).Reload()
        points.append(
            {
                tag: [
                    (each.step, pytest.approx(each.value, rel=1e-5)) for each in events.Scalars(tag)
                ]
                for tag in events.Tags()["scalars"]
            }
        )
    assert points[0].keys() == points[1].keys()
    # Every seventh step, counted from 0.
    assert [step for step, _ in points[0]["train/lr-Adam/biases"]] == list(range(6, 3 * 30, 7))
    for tag in points[0]:
        assert points[0][tag] == points[1][tag], tag


@pytest.mark.parametrize("with_features", [False, True])
@pytest.mark.parametrize("engine", ["eager", "fused"])
def test_the_range_test_sees_every_step(small_table, run_config, engine, with_features):
    from lightning_collab.training.lr_range_test import run_lr_range_test

    overrides = ("optimizer.decay=per_row", "lr_range_test.end_lr=1.0", "optimizer=sgd")
    overrides += ("features=everything",) if with_features else ()
    found = []
    for each in ("eager", engine):
        config = run_config(
            *QUICK, *overrides, "trainer.gradient_clip_val=1", f"training.engine={each}"
        )
        data = data_of(config, small_table)
        found.append(run_lr_range_test(config, data))
    assert found[0].losses == pytest.approx(found[1].losses, rel=1e-9)


def test_a_loss_that_is_no_number_stops_fused_steps_at_its_step(trained):
    diverging = ("optimizer=sgd", "model.output=linear", "trainer.precision=32-true")
    diverging += ("trainer.max_epochs=30", "training.engine=fused", "trainer.max_epochs=4")
    _, run = trained(*diverging, "optimizer.lr=0.01", "scheduler=constant")
    good = checkpoint(run)
    with pytest.raises(TrainingError, match=r"no longer a number at step 1[2-9]\d .*lr"):
        trained(
            *diverging,
            "optimizer.lr=0.01",
            "scheduler=steps",
            "scheduler.milestones=[4]",
            "scheduler.gamma=1e8",
            "trainer.max_epochs=30",
            resume=run,
        )
    kept = checkpoint(run)
    assert kept["steps_done"] == good["steps_done"]
    assert all(torch.isfinite(each).all() for each in kept["state_dict"].values())


def test_lazy_rows_stay_as_they_are_while_no_batch_touches_them(trained):
    overrides = ("optimizer=sgd", "optimizer.momentum=0", "optimizer.lr=0.01", "data.batch_size=1")
    overrides += ("optimizer.decay=decoupled", "optimizer.weight_decay=0.5", "scheduler=constant")
    dense, lazy = (
        checkpoint(trained(*overrides, f"training.row_updates={rows}")[1])["state_dict"]
        for rows in ("dense", "lazy")
    )
    # Decay pulls on every row at every step, or only on those of the batch.
    for side in ("user", "item"):
        name = f"model.{side}_factors.weight"
        assert lazy[name][1:].norm() > 5 * dense[name][1:].norm()


def test_what_the_machine_lacks_is_said_aloud(trained, monkeypatch, caplog):
    quick = ("trainer.max_epochs=1", "scheduler=constant")
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"training.engine=fused: numba .*training.engine=eager"):
        trained(*quick, "training.engine=fused")
    with caplog.at_level("INFO"):
        trained(*quick)
    assert "engine: eager (numba is not installed" in caplog.text
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)
    with caplog.at_level("INFO"):
        trained(*quick, "training.engine=compiled")
    assert "engine: eager (not compiled: torch.compile needs a C++ compiler" in caplog.text


def test_a_compiler_that_fails_is_said_aloud_and_done_without(trained, monkeypatch, caplog):
    def broken(*_):
        raise torch._dynamo.exc.TorchDynamoException("no such header")

    overrides = ("data.batch_size=full", "trainer.max_epochs=1")
    eager, _ = trained(*overrides, "training.engine=eager")
    monkeypatch.setattr(torch, "compile", lambda function, **_: broken)
    metrics, _ = trained(*overrides, "training.engine=compiled")
    assert "torch.compile failed, so the run continues without it: no such header" in caplog.text
    assert metrics["val/rmse"] == eager["val/rmse"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["embedding_dot_bias", "embedding_net"])
def test_compiled_steps_are_eager_steps_and_the_smaller_last_batch_compiles_nothing(trained, model):
    overrides = (f"model={model}", "data.batch_size=50", "optimizer.decay=per_row")
    eager, compiled = (trained(*overrides, f"training.engine={e}") for e in ("eager", "compiled"))
    assert_alike(checkpoint(eager[1]), checkpoint(compiled[1]))

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_collab.errors import CheckpointError, TrainingError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.run import train

run_module = sys.modules["lightning_collab.training.run"]

QUICK = ("callbacks.progress_bar=false", "trainer.max_epochs=3", "data.batch_size=64")


@pytest.fixture
def trained(small_table, run_config, tmp_path):
    """Train on the small table and give back metrics and run directory."""
    count = iter(range(100))

    def run(*overrides, resume=None, **options):
        config = run_config(*QUICK, "logger=none", *overrides)
        directory = resume or RunDirectory(tmp_path / f"run{next(count)}")
        directory.path.mkdir(exist_ok=True)
        data = load_data(config, small_table)
        return train(config, directory, resume=resume is not None, data=data, **options), directory

    return run


def weights(run, which="last"):
    return read_checkpoint(run.checkpoints / f"{which}.ckpt")["state_dict"]


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def test_the_run_directory_keeps_the_contract(trained):
    metrics, run = trained()
    assert json.loads(run.metrics_file.read_text()) == metrics
    assert {
        "val/rmse",
        "val/mae",
        "test/rmse",
        "test/mae",
        "baseline/mean_rmse",
        "baseline/bias_rmse",
        "epochs",
        "fit_seconds",
        "train_ratings_per_second",
        "peak_rss_bytes",
        "seed",
        "git_commit",
    } <= set(metrics)
    assert metrics["epochs"] == 3
    assert {"best.ckpt", "last.ckpt"} <= {path.name for path in run.checkpoints.iterdir()}
    assert run.read_config().trainer.max_epochs == 3


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(trained):
    (one, first), (two, second) = trained(), trained()
    assert one["test/rmse"] == two["test/rmse"]
    assert same(weights(first), weights(second))
    assert trained("seed=43")[0]["test/rmse"] != one["test/rmse"]


@pytest.mark.parametrize(
    "override",
    [
        "data.batch_size=32",
        "data.batch_size=full",
        "split.seed=1",
        "split.val=0.2",
        "model.factors=8",
        "model.output=linear",
        "model.range_margin=0.5",
        "model.init_range=0.1",
        "optimizer=sgd",
        "optimizer.lr=0.05",
        "optimizer.weight_decay=0",
        "optimizer.decay=gradient",
        "optimizer.decay=decoupled",
        "optimizer.groups.embeddings.lr_scale=0.5",
        "optimizer.groups.biases.weight_decay=10",
        "scheduler=constant",
        "scheduler.cycle_len=2",
        "scheduler.cycle_mult=1",
        "scheduler.eta_min=0.002",
        "scheduler=one_cycle",
        "scheduler=steps",
        "trainer.max_epochs=2",
        "trainer.gradient_clip_val=0.001",
        "trainer.limit_train_batches=2",
        "trainer.precision=64-true",
    ],
)
def test_every_hyper_parameter_changes_the_result(trained, override):
    # A rate at which weights move far enough in three epochs for everything to matter.
    base = ("optimizer.lr=0.02", "model.init_range=0.3")
    plain, other = trained(*base)[1], trained(*base, override)[1]
    one, two = weights(plain), weights(other)
    assert any(
        one[name].shape != two[name].shape or not torch.equal(one[name], two[name]) for name in one
    )


@pytest.mark.parametrize(
    ("scheduler", "override"),
    [
        ("one_cycle", "scheduler.warm_up=0.5"),
        ("one_cycle", "scheduler.start_div=5"),
        ("one_cycle", "scheduler.end_div=2"),
        ("steps", "scheduler.milestones=[1,2]"),
        ("steps", "scheduler.gamma=0.5"),
    ],
)
def test_every_setting_of_a_schedule_changes_the_result(trained, scheduler, override):
    base = (f"scheduler={scheduler}", "trainer.max_epochs=4", "model.factors=4")
    plain, other = trained(*base)[1], trained(*base, override)[1]
    assert not same(weights(plain), weights(other))


def test_a_frozen_group_stays_as_it_was_drawn(trained, run_config, small_table):
    override = "optimizer.groups.biases.lr_scale=0"
    config = run_config(*QUICK, override)
    data = load_data(config, small_table)
    drawn = build_module(config, data).state_dict()
    end = weights(trained(override, "scheduler.eta_min=0.001", "optimizer.decay=decoupled")[1])
    for name in drawn:
        moved = not torch.equal(drawn[name][1:], end[name][1:]) if drawn[name].ndim else False
        assert moved == ("factors" in name)


def test_each_cycle_leaves_a_checkpoint_of_its_last_step(trained):
    _, run = trained("trainer.max_epochs=4")
    names = sorted(path.name for path in run.checkpoints.iterdir())
    assert names == ["best.ckpt", "cycle-1.ckpt", "cycle-2.ckpt", "last.ckpt"]
    steps = [read_checkpoint(run.checkpoints / name)["steps_done"] for name in names[1:3]]
    assert steps == [8, 24]
    # The end of a cycle is the end of an epoch here, and so the weights of a run that ends there.
    _, short = trained("trainer.max_epochs=3")
    assert same(weights(run, "cycle-2"), weights(short))


@pytest.mark.parametrize(
    "override",
    ["model.hidden=5", "model.embedding_dropout=0.5", "model.hidden_dropout=0", "model.factors=8"],
)
def test_every_hyper_parameter_of_the_net_changes_the_result(trained, override):
    plain = trained("model=embedding_net")[0]
    assert trained("model=embedding_net", override)[0]["val/loss"] != plain["val/loss"]


def test_val_numbers_are_those_of_the_best_epoch_and_test_numbers_of_the_same_weights(
    trained, small_table, run_config
):
    overrides = ("optimizer.lr=0.2", "trainer.max_epochs=8", "scheduler=constant")
    metrics, run = trained(*overrides)
    best, last = (read_checkpoint(run.checkpoints / f"{name}.ckpt") for name in ("best", "last"))
    assert best["epoch"] < last["epoch"], "the example must overfit"
    config = run_config(*QUICK, *overrides)
    data = load_data(config, small_table)
    for part, rows in (("val", data.rows.val), ("test", data.rows.test)):
        columns = data.columns(rows)
        table = {name.removeprefix("model."): value for name, value in best["state_dict"].items()}
        users, items = torch.tensor(columns.users), torch.tensor(columns.items)
        raw = (
            (table["user_factors.weight"][users] * table["item_factors.weight"][items]).sum(1)
            + table["user_bias.weight"][users, 0]
            + table["item_bias.weight"][items, 0]
        )
        predicted = (1 + 4 * torch.sigmoid(raw)).numpy().clip(1, 5)
        errors = predicted - columns.ratings
        assert metrics[f"{part}/rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-5)
        assert metrics[f"{part}/mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)


def test_without_a_validation_part_the_last_epoch_is_measured(trained):
    metrics, run = trained("split.val=0")
    assert not [key for key in metrics if key.startswith("val/")]
    assert "test/rmse" in metrics
    assert not run.best_checkpoint.exists()
    assert run.last_checkpoint.exists()


def test_the_test_part_is_left_alone_when_asked(trained):
    metrics, _ = trained(test=False)
    assert not [key for key in metrics if key.startswith("test/")]
    with_test, _ = trained()
    assert metrics["baseline/mean_rmse"] != with_test["baseline/mean_rmse"]


def test_early_stopping_stops(trained):
    metrics, _ = trained(
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
        "optimizer.lr=0.2",
        "scheduler=constant",
        "trainer.max_epochs=50",
    )
    assert metrics["epochs"] < 50


@pytest.mark.parametrize("model", ["embedding_dot_bias", "embedding_net"])
def test_a_resumed_run_is_an_uninterrupted_one(trained, model):
    options = (f"model={model}", "model.factors=4")
    whole = trained(*options, "trainer.max_epochs=4")[1]
    _, half = trained(*options, "trainer.max_epochs=2")
    metrics, _ = trained(*options, "trainer.max_epochs=4", resume=half)
    assert metrics["epochs"] == 4
    assert same(weights(whole), weights(half))
    assert same(weights(whole, "best"), weights(half, "best"))
    assert metrics["test/rmse"] == json.loads(whole.metrics_file.read_text())["test/rmse"]


def test_a_moved_run_keeps_its_best_checkpoint_on_resume(trained, tmp_path):
    _, run = trained("trainer.max_epochs=1")
    best = weights(run, "best")
    # A score that no later epoch can beat, as if the first had been the best of all.
    last = read_checkpoint(run.last_checkpoint)
    (state,) = (each for key, each in last["callbacks"].items() if "val/rmse" in key)
    for name in ("best_model_score", "current_score", "kth_value"):
        state[name] = torch.tensor(0.0)
    state["best_k_models"] = dict.fromkeys(state["best_k_models"], torch.tensor(0.0))
    torch.save(last, run.last_checkpoint)
    moved = RunDirectory(run.path.rename(tmp_path / "moved"))
    trained("trainer.max_epochs=3", resume=moved)
    assert same(weights(moved, "best"), best)
    assert not same(weights(moved), best)
    assert not run.path.exists()


def test_a_finished_run_cannot_be_resumed_to_where_it_is(trained):
    _, run = trained()
    with pytest.raises(CheckpointError, match="trained for 3 epochs already"):
        trained(resume=run)


def test_a_checkpoint_of_other_data_is_refused(trained):
    _, run = trained()
    config = yaml.safe_load(run.config_file.read_text())
    config["split"] |= {"seed": 1, "test": 0.9}
    run.config_file.write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match="belongs to other data"):
        trained("split.seed=1", "split.test=0.9", "trainer.max_epochs=5", resume=run)


def test_a_loss_that_is_no_number_stops_the_run(trained):
    with pytest.raises(TrainingError, match=r"at step \d+ .*learning rate"):
        trained("optimizer=sgd", "model.output=linear", "optimizer.lr=1e6", "trainer.max_epochs=30")


def test_per_row_penalty_by_hand(trained):
    """One full-batch step of plain SGD from known weights."""
    common = ("optimizer=sgd", "optimizer.momentum=0", "optimizer.lr=1", "data.batch_size=full")
    common += ("trainer.max_epochs=1", "scheduler=constant", "model.init_range=0.3")
    decay = 0.5
    without = weights(trained(*common, "optimizer.weight_decay=0")[1])
    touched = weights(
        trained(*common, f"optimizer.weight_decay={decay}", "optimizer.decay=per_row")[1]
    )
    dense = weights(
        trained(*common, f"optimizer.weight_decay={decay}", "optimizer.decay=gradient")[1]
    )
    name = "model.user_factors.weight"
    start = (without[name] - dense[name])[1:] / decay  # the gradient form adds decay * weight
    # The touched form adds decay * weight * (the user's share of the ratings of the batch).
    ratio = ((without[name] - touched[name])[1:] / decay / start).mean(1)
    assert ratio.sum().item() == pytest.approx(1.0, rel=1e-3)
    assert ratio.min() > 0


def test_curves_and_hyper_parameters_reach_tensorboard(trained):
    overrides = ("logger=tensorboard", "trainer.log_every_n_steps=1")
    overrides += ("optimizer.groups.biases.lr_scale=0.5",)
    metrics, run = trained(*overrides, "trainer.max_epochs=2")
    trained(*overrides, "trainer.max_epochs=3", resume=run)
    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]
    assert {"train/loss", "val/loss", "val/rmse", "val/mae"} <= set(tags)
    assert len(events.Scalars("val/rmse")) == 3, "a resumed run adds to the same history"
    rates = {tag: [each.value for each in events.Scalars(tag)] for tag in tags if "lr-" in tag}
    assert [
        rates[f"train/lr-Adam/{group}"][0] for group in ("embeddings", "biases")
    ] == pytest.approx([0.003, 0.0015])
    # Cycles of 1 and 2 epochs of 8 steps, in closed form.
    shares = [*(n / 8 for n in range(8)), *(n / 16 for n in range(16))]
    expected = [0.0015 * (1 + math.cos(math.pi * share)) / 2 for share in shares]
    assert rates["train/lr-Adam/biases"] == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert events.Scalars("test/rmse")[0].value == pytest.approx(metrics["test/rmse"])


def test_a_commit_is_recorded_only_where_the_source_is_in_it(tmp_path, monkeypatch):
    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    source = tmp_path / "env" / "run.py"
    source.parent.mkdir()
    source.touch()
    monkeypatch.setattr(run_module, "__file__", str(source))
    assert run_module._git_commit() is None
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "of somebody else")
    assert run_module._git_commit() is None
    git("add", "--all")
    git("commit", "--quiet", "--message", "with the source")
    assert run_module._git_commit() == git("rev-parse", "HEAD")

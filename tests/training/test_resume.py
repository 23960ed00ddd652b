"""What may be typed when a run goes on: each key is honoured, or refused while nothing changes."""

import shutil
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import callbacks
from support import composed

from lightning_collab.api.training import train_run
from lightning_collab.config import validated
from lightning_collab.config.compose import HONOURED, REFUSED, why_refused
from lightning_collab.errors import CheckpointError, ConfigError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.evaluation import measure_run
from lightning_collab.training.trainer import EarlyStopping

QUICK = (
    *("callbacks.progress_bar=false", "callbacks.report=null", "callbacks.projector=null"),
    *("logger=none", "data.batch_size=64", "model.factors=4"),
)
ONE, TWO = "trainer.max_epochs=1", "trainer.max_epochs=2"


@pytest.fixture
def train(small_table, run_config, tmp_path):
    """Train as the commands do; a resumed run goes on in a copy of its directory."""
    numbers = count()

    def run(*overrides, resume=None, table=small_table):
        config = run_config(*QUICK, *overrides)
        directory = RunDirectory(tmp_path / f"run{next(numbers)}")
        if resume is not None:
            shutil.copytree(resume.path, directory.path)

        def read(config):
            return config, load_data(config, table)

        done = train_run(config, directory, resume=resume is not None, read=read)
        return directory, done.metrics

    return run


def weights(run):
    return read_checkpoint(run.last_checkpoint)["state_dict"]


def distance(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def contents(directory):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(directory.path.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


EVERY_OPTION = [
    (),
    *((f"optimizer={name}",) for name in ("adam", "adamw", "sgd")),
    ("optimizer=torch", "optimizer.class_name=RMSprop"),
    *((f"scheduler={name}",) for name in ("constant", "linear", "warm_restarts", "one_cycle")),
    *((f"model={name}",) for name in ("embedding_net", "matrix_product", "bayesian_factors")),
    *((f"loss={name}",) for name in ("softmax", "bce", "bpr")),
    *((f"averaging={name}",) for name in ("ema", "swa")),
    *((f"split={name}",) for name in ("cold_items", "user_stratified", "leave_one_out")),
    ("features=everything",),
    ("data=csv", "data.path=x.csv"),
    ("callbacks=early_stopping",),
    ("logger=[tensorboard,csv]",),
    ("trainer=ddp_cpu",),
]


def leaves(values, above=""):
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


@pytest.mark.parametrize("overrides", EVERY_OPTION, ids=" ".join)
def test_of_every_key_it_is_said_whether_a_run_can_go_on_with_another(overrides):
    config = validated(composed(*overrides)).model_dump(mode="json")
    for key in leaves(config):
        assert why_refused(key) is None or isinstance(why_refused(key), str), key


def test_what_is_said_of_a_section_does_not_hide_what_is_said_of_its_keys():
    assert why_refused("optimizer.lr") is None
    assert "another optimizer" in why_refused("optimizer.name")
    assert "as it was made" in why_refused("model.factors")
    assert why_refused("model.hidden_dropout") is None
    assert not set(HONOURED) & set(REFUSED)
    with pytest.raises(KeyError):
        why_refused("nothing")


ADAM = ("scheduler=constant",)
SGD = ("optimizer=sgd", "scheduler=constant", "optimizer.lr=0.05")
NET = ("model=embedding_net", "scheduler=constant", "training.engine=eager")
HONOURED_CASES = {
    "optimizer.lr=0.03": ADAM,
    "optimizer.weight_decay=0.5": ADAM,
    "optimizer.decay=gradient": ADAM,
    "optimizer.frequency_power=0.5": (*ADAM, "training.engine=eager"),
    "optimizer.beta1=0.1": ADAM,
    "optimizer.beta2=0.5": ADAM,
    "optimizer.eps=0.1": ADAM,
    "optimizer.groups.embeddings.lr_scale=0.1": ADAM,
    "optimizer.groups.biases.lr_scale=3": ADAM,
    "optimizer.groups.biases.weight_decay=0.9": ADAM,
    "optimizer.momentum=0.2": SGD,
    "optimizer.nesterov=true": SGD,
    "scheduler=one_cycle": ADAM,
    "scheduler.cycle_mult=3": ("scheduler=warm_restarts", "scheduler.cycle_len=0.25"),
    "scheduler.cycle_len=0.5": ("scheduler=warm_restarts", "scheduler.cycle_len=0.25"),
    "scheduler.eta_min=0.02": ("scheduler=warm_restarts", "scheduler.cycle_len=0.25"),
    "optimizer.groups.hidden.lr_scale=0.1": NET,
    "optimizer.groups.output.lr_scale=0.1": NET,
    "model.hidden_dropout=0.9": NET,
    "model.embedding_dropout=0.9": NET,
    "trainer.gradient_clip_val=0.001": (*ADAM, "training.engine=eager"),
    "trainer.accumulate_grad_batches=2": (*ADAM, "training.engine=eager"),
    "trainer.limit_train_batches=3": (*ADAM, "training.engine=eager"),
}


@pytest.mark.parametrize("typed", HONOURED_CASES)
def test_what_is_typed_moves_the_weights_from_there_on(train, typed):
    base = HONOURED_CASES[typed]
    half, _ = train(*base, ONE)
    as_before, _ = train(*base, TWO, resume=half)
    changed, _ = train(*base, typed, TWO, resume=half)
    assert distance(weights(as_before), weights(half)) > 1e-4
    assert distance(weights(as_before), weights(changed)) > 1e-5


@pytest.mark.parametrize("engine", ["eager", "fused"])
@pytest.mark.parametrize("base", [ADAM, SGD], ids=["adam", "sgd"])
def test_a_rate_of_next_to_nothing_leaves_the_weights_where_they_are(train, engine, base):
    base = (*base, f"training.engine={engine}", "optimizer.decay=gradient")
    half, _ = train(*base, ONE)
    run, _ = train(*base, "optimizer.lr=1e-12", TWO, resume=half)
    before, after = weights(half), weights(run)
    for name in before:
        # The unknown row is the mean of the others, whatever it was.
        np.testing.assert_allclose(after[name], before[name], atol=1e-9, err_msg=name)
    assert run.read_config().optimizer.lr == 1e-12
    groups = read_checkpoint(run.last_checkpoint)["optimizer_states"][0]["param_groups"]
    assert {group["lr"] for group in groups} == {1e-12}


REFUSED_CASES = {
    "model.factors=5": "model.factors: 4 in the run",
    "model.output=linear": "model.output: sigmoid in the run",
    "model.init_range=0.3": "model.init_range",
    "split.seed=1": "split.seed: 42 in the run, .* which ratings are tested",
    "split.test=0.2": "split.test",
    "data.batch_size=32": "data.batch_size: 64 in the run",
    "data.min_rating=2": "data.min_rating: null in the run",
    "features=history": "features.users.history.kind: not there in the run",
    "seed=7": "seed: 42 in the run",
    "loss=bce": "loss.name: squared_error in the run",
    "optimizer=sgd": "optimizer.name: adam in the run",
    "optimizer.groups.embeddings.users.lr_scale=0.5": "as they were formed",
    "averaging=ema": "averaging.name: none in the run",
    "callbacks.monitor=val/mae": "callbacks.monitor: null in the run",
    "find_lr=true": "find_lr: False in the run",
}


@pytest.mark.parametrize("typed", REFUSED_CASES)
def test_what_would_make_another_run_is_refused_and_nothing_changes(train, typed, tmp_path):
    half, metrics = train(ONE)
    before = contents(half)
    overrides = (typed, TWO)
    with pytest.raises(ConfigError, match=REFUSED_CASES[typed]):
        train(*overrides, resume=half)
    [copy] = (path for path in tmp_path.glob("run*") if path != half.path)
    # The copy has the times of what it was copied from.
    after = contents(RunDirectory(copy))
    assert {path.relative_to(copy): each for path, each in after.items()} == {
        path.relative_to(half.path): each for path, each in before.items()
    }
    assert half.read_config().model.factors == 4
    assert metrics["epochs"] == 1


def test_a_run_that_has_ended_is_left_as_it_is(train):
    ended, _ = train(ONE)
    with pytest.raises(CheckpointError, match="trained for 1 epochs already"):
        train(ONE, "callbacks.early_stopping.patience=9", "callbacks=early_stopping", resume=ended)
    assert ended.read_config().callbacks.early_stopping is None


def test_other_ratings_of_the_same_ids_are_refused(train, small_table, run_config):
    half, _ = train(ONE)
    ratings = small_table.ratings.copy()
    row = load_data(run_config(*QUICK), small_table).rows.test[0]
    ratings[row] = 6 - ratings[row]
    other = replace(small_table, ratings=ratings)
    before = contents(half)
    with pytest.raises(CheckpointError, match="ratings, their order or their parts are not those"):
        train(TWO, resume=half, table=other)
    config = half.read_config()
    with pytest.raises(CheckpointError, match="ratings, their order or their parts are not those"):
        measure_run(config, half, load_data(config, other))
    assert contents(half) == before


def test_the_same_ids_split_otherwise_are_refused_whatever_the_config_says(train):
    """A config.yaml that somebody has edited does not let test ratings be trained on."""
    half, _ = train(ONE)
    config = yaml.safe_load(half.config_file.read_text())
    config["split"]["seed"] = 1
    half.config_file.write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match="belongs to other data"):
        train("split.seed=1", TWO, resume=half)


@pytest.mark.parametrize(("scheduler", "said"), [("one_cycle", True), ("constant", False)])
def test_a_longer_one_cycle_gets_a_word(train, caplog, scheduler, said):
    half, _ = train(f"scheduler={scheduler}", TWO)
    train(f"scheduler={scheduler}", "trainer.max_epochs=4", resume=half)
    word = f"scheduler={scheduler} is spread over trainer.max_epochs: over 4 epochs in place of 2"
    assert (word in caplog.text) == said


def test_time_and_epochs_are_those_of_the_whole_training(train):
    half, first = train(TWO)
    kept = read_checkpoint(half.last_checkpoint)["fit_seconds"]
    assert 0 < kept <= first["fit_seconds"] + 1e-3
    content = read_checkpoint(half.last_checkpoint)
    content["fit_seconds"] = 1000.0
    torch.save(content, half.last_checkpoint)
    run, whole = train("trainer.max_epochs=3", resume=half)
    assert whole["epochs"] == 3
    assert 1000 < whole["fit_seconds"] < 1060
    assert read_checkpoint(run.last_checkpoint)["fit_seconds"] > 1000
    # One epoch in this process.
    here = whole["fit_seconds"] - 1000
    expected = whole["train_ratings"] / here
    assert whole["train_ratings_per_second"] == pytest.approx(expected, rel=0.05)


def test_patience_is_that_which_is_typed():
    ours = EarlyStopping("val/rmse", patience=7)
    theirs = callbacks.EarlyStopping("val/rmse", patience=3)
    assert ours.state_key == theirs.state_key
    theirs.wait_count = 2
    ours.load_state_dict(theirs.state_dict())
    assert (ours.patience, ours.wait_count) == (7, 2)


def test_features_that_a_run_had_cannot_be_left_out(train):
    half, _ = train("features=history", ONE)
    with pytest.raises(ConfigError, match=r"features\.users\.history\.kind: history in the run"):
        train(TWO, resume=half)
    run, _ = train("features=history", TWO, resume=half)
    assert run.read_config().features.users

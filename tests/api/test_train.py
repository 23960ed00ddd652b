"""Training from Python: what it takes, what it refuses, what it leaves behind and puts back."""

import asyncio
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest
import pytorch_lightning
import torch
import yaml
from frames import QUICK, ratings_frame
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from packaging.version import Version
from support import CONF

import lightning_collab as lc
from lightning_collab.commands.evaluate import evaluate_command
from lightning_collab.commands.recommend import recommend_command
from lightning_collab.config.model import LossConfig
from lightning_collab.errors import CheckpointError, ConfigError, DataError
from lightning_collab.models.config import EmbeddingDotBiasConfig
from lightning_collab.training.run import InterruptedRunError


def train(data, **settings):
    overrides = {**QUICK, **settings.pop("overrides", {})}
    return lc.train(data, **{"factors": 4, **settings}, overrides=overrides)


def command_config(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides))


def weights(run):
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_made_is_a_run_as_any_other(frame):
    run = lc.train(frame, factors=4, timestamp="time", overrides={"trainer.max_epochs": 1})
    assert run.path.parent == Path.cwd() / "outputs" / "train"
    made = {path.name for path in run.path.iterdir()}
    files = {
        "config.yaml",
        "metrics.json",
        "train.log",
        "report.html",
        "checkpoints",
        "tensorboard",
    }
    assert made == files | {"items.parquet", "users.parquet", "history.parquet", "sums.json"}
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["data"]["name"] == "frame"
    assert config["data"]["rows"] == 400
    assert config["data"]["columns"]["timestamp"] == "time"
    assert config["model"] == {**EmbeddingDotBiasConfig().model_dump(), "factors": 4}
    assert "embedding_dot_bias on the frame: 320 / 40 / 40" in (run.path / "train.log").read_text()
    found = recommend_command(command_config("recommend", f"run={run.path}", "user=100"))
    assert found.equals(run.recommend(user=100))
    # What needs the ratings says how to pass them.
    with pytest.raises(DataError, match=r"lightning_collab\.load\(<run directory>\)"):
        evaluate_command(command_config("evaluate", f"run={run.path}"))


def test_lines_and_tables_are_those_of_the_command(frame, capfd):
    lc.train(frame, overrides={**QUICK, "callbacks.progress_bar": True}, run_dir="mine")
    out, err = capfd.readouterr()
    assert "embedding_dot_bias on the frame: 320 / 40 / 40 ratings" in err.replace("\n        ", "")
    assert err.count("epoch ") == 3
    assert "user and item biases" in out
    assert "run     mine\n" in out
    assert "again   lightning_collab.load('mine').evaluate(frame)\n" in out


def test_quiet_is_quiet(frame, capfd):
    run = train(frame)
    assert capfd.readouterr() == ("", "")
    assert "engine: fused" in (run.path / "train.log").read_text()


@pytest.mark.parametrize("kind", ["csv", "parquet", "lazy", "pandas", "arrow", "module"])
def test_ratings_of_any_kind_give_the_same_model(frame, kind):
    match kind:
        case "csv":
            frame.write_csv("ratings.csv")
            data = Path("ratings.csv")
        case "parquet":
            frame.write_parquet("ratings.parquet")
            data = "ratings.parquet"
        case "lazy":
            data = frame.lazy()
        case "pandas":
            pandas = pytest.importorskip("pandas")
            data = pandas.DataFrame(frame.to_dict(as_series=False))
        case "arrow":
            pytest.importorskip("pyarrow")
            data = frame.to_arrow()
        case "module":
            data = lc.RatingDataModule.from_frame(frame, batch_size=64)
    of_module = {key: each for key, each in QUICK.items() if not key.startswith("data.")}
    run = lc.train(data, factors=4, overrides=of_module if kind == "module" else QUICK)
    assert same(weights(run), weights(train(frame)))
    assert run.evaluate()["test/rmse"] == run.metrics["test/rmse"]


def test_columns_users_and_items_of_the_frame(frame):
    renamed = frame.rename({"user": "who", "item": "what", "rating": "stars"})
    items = pl.DataFrame({"what": range(7, 27), "title": [f"Film {k}" for k in range(20)]})
    run = train(renamed, user="who", item="what", rating="stars", items=items)
    assert run.items["title"][0] == "Film 0"
    assert same(weights(run), weights(train(frame)))
    assert run.recommend(user=100, top_k=1)["title"][0].startswith("Film ")


def test_columns_are_found_and_kept_by_their_names(frame):
    played = frame.rename({"user": "customer"}).with_columns(plays=pl.col("rating") * 2)
    run = train(played, overrides={"data.k_core": 2})
    assert run.config["data"]["columns"] == {
        "user": "customer",
        "item": "item",
        "rating": "rating",
        "timestamp": "time",
        "part": None,
        "weight": "plays",
    }
    assert run.data.table.weights.tolist() == played["plays"].to_list()
    # The run knows its frame again.
    assert lc.load(run.path).evaluate(played)["test/rmse"] == run.metrics["test/rmse"]
    with pytest.raises(DataError, match="trained on another frame"):
        lc.load(run.path).evaluate(played.with_columns(pl.col("plays") + 1))


def test_a_model_that_is_solved_takes_all_ratings_of_a_data_module(frame):
    data = lc.RatingDataModule.from_frame(frame, batch_size=64)
    settings = {"callbacks.report": None, "callbacks.progress_bar": False, "trainer.max_epochs": 2}
    run = lc.train(data, model="least_squares_factors", overrides=settings)
    assert run.data.batches_per_epoch == 1
    assert run.metrics["test/rmse"] < run.metrics["baseline/mean_rmse"]


SCALED = {"optimizer.groups.biases": {"lr_scale": 0}}
LECTURE = {"experiment": "lecture_net", "trainer.max_epochs": 1}


@pytest.mark.parametrize(
    ("settings", "path", "value"),
    [
        ({"overrides": {"optimizer.lr": 0.011}}, "optimizer.lr", 0.011),
        ({"overrides": {"optimizer": "sgd"}}, "optimizer.momentum", 0.9),
        ({"overrides": {"optimizer": "sgd"}}, "optimizer.lr", 0.05),
        ({"overrides": {"optimizer.lr": np.float32(0.5)}}, "optimizer.lr", 0.5),
        ({"overrides": {"seed": np.int64(7)}}, "seed", 7),
        (
            {"overrides": {"trainer.accumulate_grad_batches": 2}},
            "trainer.accumulate_grad_batches",
            2,
        ),
        ({"overrides": {"split": {"name": "user_stratified", "test": 0.2}}}, "split.test", 0.2),
        ({"overrides": {"split": {"name": "user_stratified"}}}, "split.name", "user_stratified"),
        ({"overrides": {"split": {"name": "cold_items", "share": 0.2}}}, "split.share", 0.2),
        ({"overrides": SCALED}, "optimizer.groups.biases.lr_scale", 0.0),
        ({"overrides": LECTURE}, "model.name", "embedding_net"),
        ({"overrides": LECTURE}, "split.name", "lecture"),
        ({"overrides": LECTURE}, "data.batch_size", 64),
        ({"overrides": {"logger": ["csv", "tensorboard"]}}, "logger.csv", {}),
        ({"rating_range": (0, 5)}, "data.rating_range", [0.0, 5.0]),
        ({"model": "matrix_product", "factors": 3}, "model.name", "matrix_product"),
        ({"model": lc.EmbeddingNet, "hidden": 3}, "model.hidden", 3),
        ({"model": EmbeddingDotBiasConfig(output="linear")}, "model.output", "linear"),
        ({"loss": lc.SquaredError}, "loss.name", "squared_error"),
        ({"loss": lc.SquaredError()}, "loss.name", "squared_error"),
    ],
)
def test_settings_reach_the_config(frame, settings, path, value):
    found = train(frame, **settings).config
    for key in path.split("."):
        found = found[key]
    assert found == value


def test_text_is_never_read_as_a_grammar(frame):
    frame.write_csv("a,b=${oc.env:HOME}.csv")
    run = train("a,b=${oc.env:HOME}.csv")
    assert run.config["data"]["path"] == str(Path("a,b=${oc.env:HOME}.csv").absolute())


def test_an_experiment_of_the_working_folder(frame):
    folder = Path("conf/experiment")
    folder.mkdir(parents=True)
    text = "# @package _global_\noptimizer:\n  beta1: 0.7\nseed: ${model.factors}\n"
    (folder / "mine.yaml").write_text(text)
    config = train(frame, factors=5, overrides={"experiment": "mine"}).config
    assert config["optimizer"]["beta1"] == 0.7
    assert config["seed"] == 5


class Unregistered(lc.RatingModel):
    """Of nobody."""

    class Config(lc.ModelConfig):
        """Its config."""

        name: Literal["unregistered"] = "unregistered"

    config_class = Config

    def rate(self, rows, batch, effects=None):
        return rows["biases"][0].squeeze(1)


class Absolute(lc.PointwiseLoss):
    """A loss that is not registered."""

    def __call__(self, predicted, target):
        return (predicted - target).abs().sum()


def with_ratings(values):
    return ratings_frame().with_columns(rating=pl.Series(values))


ON_SCALE = ratings_frame()["rating"].to_list()
DUPLICATES = pl.concat([ratings_frame(), ratings_frame()[:2]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "embeding_net"},
            "model=embeding_net: no such option; did you mean 'embedding_ne",
        ),
        ({"model": 3}, "model: must be a name, or the class or config of one"),
        (
            {"model": Unregistered},
            r"not registered.*lightning_collab.register_model\(Unregistered\)",
        ),
        ({"loss": "softmx"}, "loss=softmx: no such option"),
        ({"loss": Absolute()}, r"not registered.*lightning_collab.register_loss\(Absolute\)"),
        ({"factorz": 3}, "model.factorz: unknown key; did you mean 'factors'"),
        ({"factors": "many"}, "model.factors: input should be a valid integer"),
        ({"overrides": {"optimizer": "adm"}}, "optimizer=adm: no such option; did you mean 'adam'"),
        ({"overrides": {"optimizer.lrr": 1}}, "optimizer.lrr: unknown key; did you mean 'lr'"),
        ({"overrides": {"optimizer.lr": "0.1"}}, "optimizer.lr: input should be a valid number"),
        ({"overrides": {"optimizr.lr": 1}}, "optimizr: unknown key; did you mean 'optimizer'"),
        ({"overrides": {"optimizer": 3}}, "optimizer: must be the name of an option, or a mapping"),
        ({"overrides": {"optimizer.lr.x": 3}}, "optimizer.lr is not a section"),
        ({"overrides": {"+optimizer": "sgd"}}, "is not a key"),
        ({"overrides": {"data": "csv"}}, r"data is an argument of train\(\)"),
        ({"overrides": {"hydra.run.dir": "x"}}, "in Python the run directory is run_dir"),
        ({"overrides": {"data.delimiter": ";"}}, "data.delimiter: unknown key"),
        (
            {"timestamp": None, "overrides": {"split": "temporal"}},
            "pass the column's name as timestamp=",
        ),
        ({"part": None, "overrides": {"split": "predefined"}}, "pass the column's name as part="),
        (
            {"rating": None, "overrides": {"data.min_rating": 3}},
            "pass the column's name as rating=",
        ),
        ({"overrides": {"experiment": "nope"}}, "experiment=nope: no such option"),
        ({"overrides": {"trainer.fast_dev_run": True}}, r"pl.Trainer\(fast_dev_run=True\)"),
        ({"overrides": {"trainer": "ddp_cpu"}}, "start the program that calls it by torchrun"),
        ({"overrides": {"trainer.logger": False}}, "trainer.logger cannot be set: choose loggers"),
        ({"overrides": {"training.untouched_rows": "exact"}}, "is now training.row_updates=dense"),
        ({"callbacks": [print]}, "is no callback of Lightning"),
        ({"overrides": {3: 4}}, "3: is not a key"),
    ],
)
def test_settings_that_make_no_sense(frame, settings, message):
    with pytest.raises(ConfigError, match=message) as raised:
        train(frame, **settings)
    assert "add it with +" not in str(raised.value)
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (with_ratings([None, *ON_SCALE[1:]]), {}, "row 0 of the frame.*a missing value"),
        (with_ratings([9.0, *ON_SCALE[1:]]), {"rating_range": (1, 5)}, "row 0.*9"),
        (with_ratings([f"r{k}" for k in ON_SCALE]), {}, "row 0.*'r"),
        (DUPLICATES, {}, 'duplicates="last"'),
        (ratings_frame(), {"user": "usr"}, """no column 'usr' .user="usr".; it has 'user'"""),
        (ratings_frame().with_columns(user=pl.lit([1])), {}, "user"),
        (
            ratings_frame(),
            {"rating": "rating", "timestamp": None, "items": 3},
            "the frame of items must be",
        ),
        (None, {}, "must be a polars DataFrame"),
        ({"user": [1]}, {}, "must be a polars DataFrame"),
        ("no.csv", {}, "no.csv: no such file"),
        (ratings_frame()[:1], {}, "not a scale"),
    ],
)
def test_ratings_that_are_not_what_they_should_be(frame, data, settings, message):
    with pytest.raises(DataError, match=message):
        train(data, **settings)
    assert not list(Path().glob("outputs/train/*"))


def test_ratings_that_are_twice_there_are_made_one_of(frame):
    assert train(DUPLICATES, duplicates="last").metrics["train_ratings"] == 320


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overrides": {"split": "lecture"}}, "overrides: split is decided by the data module"),
        ({"overrides": {"data.batch_size": 3}}, "overrides: data.batch_size is decided by the"),
        ({"timestamp": "time"}, "timestamp: is decided by the data module"),
        ({"timestamp": None}, "timestamp: is decided by the data module"),
        ({"weight": "plays"}, "weight: is decided by the data module"),
    ],
)
def test_what_a_data_module_has_decided(frame, settings, message):
    data = lc.RatingDataModule.from_frame(frame)
    with pytest.raises(ConfigError, match=message):
        lc.train(data, **settings)


def test_a_data_module_of_no_source(frame, small_table):
    with pytest.raises(ConfigError, match=r"RatingDataModule\.from_frame or from_file"):
        lc.train(lc.RatingDataModule(small_table))


def test_overrides_are_a_mapping(frame):
    with pytest.raises(ConfigError, match="overrides: must be a mapping"):
        lc.train(frame, overrides=["optimizer.lr=0.1"])


def test_users_of_a_file_are_in_a_file(frame):
    frame.write_csv("ratings.csv")
    with pytest.raises(ConfigError, match="users: must be the path of a file or a list of paths"):
        train("ratings.csv", users=frame)


def test_a_run_that_is_there_is_never_written_over(frame):
    run = train(frame, run_dir="mine")
    before = run.metrics
    with pytest.raises(CheckpointError, match=r"a trained run is already there.*\.resume\(\)"):
        train(frame, run_dir="mine", factors=2)
    assert lc.load("mine").metrics == before


def test_no_two_runs_share_a_directory(frame):
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: train(frame), range(4)))
    assert len({run.path for run in runs}) == 4


def test_a_folder_that_cannot_be_written_is_named(frame):
    Path("outputs").write_text("a file")
    with pytest.raises(lc.LightningCollabError, match="run_dir"):
        train(frame)


class Said(pytorch_lightning.Callback):
    """Logs a word at the end of each epoch."""

    def __init__(self, word):
        self.word = word

    def on_train_epoch_end(self, trainer, pl_module):
        logging.getLogger("lightning_collab").warning("said %s", self.word)


def test_two_threads_at_once_give_the_numbers_of_one_alone(frame):
    settings = [
        {"model": "embedding_net", "hidden": 4, "factors": 3},
        {"factors": 5, "overrides": {"seed": 3, "training.engine": "eager"}},
    ]
    alone = [train(frame, **each) for each in settings]
    start = threading.Barrier(2)

    def trained(number):
        start.wait()
        return train(frame, **settings[number], callbacks=[Said(f"<{number}>")])

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(trained, range(2)))
    for number, (one, other) in enumerate(zip(alone, together, strict=True)):
        assert same(weights(one), weights(other))
        measured = [key for key in one.metrics if key.startswith(("val/", "test/", "baseline/"))]
        assert {k: one.metrics[k] for k in measured} == {k: other.metrics[k] for k in measured}
        log = (other.path / "train.log").read_text()
        assert log.count(f"said <{number}>") == 3
        assert f"said <{1 - number}>" not in log
        assert log.count("ratings to train / validate / test") == 1


def test_hydra_and_the_process_are_as_they_were(frame, monkeypatch):
    monkeypatch.setattr(VersionBase.instance(), "version_base", Version("1.2"))
    before = (torch.get_num_threads(), torch.get_rng_state(), dict(os.environ), warnings.filters[:])
    levels = [
        logging.getLogger(name).level for name in ("", "lightning_collab", "pytorch_lightning")
    ]
    handlers = logging.getLogger().handlers[:]
    shown = warnings.showwarning
    train(frame, overrides={"find_lr": True, "trainer.threads": 1})
    assert not GlobalHydra.instance().is_initialized()
    assert str(VersionBase.instance().getbase()) == "1.2"
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert dict(os.environ) == before[2]
    assert warnings.filters == before[3]
    assert warnings.showwarning is shown
    assert logging.getLogger().handlers == handlers
    after = [
        logging.getLogger(name).level for name in ("", "lightning_collab", "pytorch_lightning")
    ]
    assert after == levels


PROGRAM = """
import sys
sys.path.insert(0, {support!r})
import hydra
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from frames import QUICK, ratings_frame
import lightning_collab as lc

@hydra.main(version_base="1.2", config_path="theirs", config_name="program")
def program(config):
    run = lc.train(ratings_frame(), factors=config.size, overrides=QUICK, run_dir="run")
    assert HydraConfig.get().job.name == "program"
    assert compose("program", ["size=5"]).size == 5
    assert "model" not in compose("program")
    print("size", config.size, "factors", run.config["model"]["factors"])

program()
"""


def test_inside_a_program_of_hydra(frame):
    Path("theirs").mkdir()
    Path("theirs/program.yaml").write_text("size: 3\n")
    support = str(Path(__file__).parents[1] / "support")
    Path("program.py").write_text(PROGRAM.format(support=support))
    done = subprocess.run(
        [sys.executable, "program.py", "size=6", "hydra.run.dir=here"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "size 6 factors 6" in done.stdout


class Cell(io.TextIOBase):
    """What a notebook has for an output: no terminal, no file and no bytes below."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)

    def fileno(self):
        raise io.UnsupportedOperation("fileno")


def test_in_a_notebook(frame, monkeypatch):
    out, err = Cell(), Cell()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)

    async def cell():
        return lc.train(frame, overrides={**QUICK, "callbacks.progress_bar": True})

    run = asyncio.run(cell())
    assert "user and item biases" in out.text
    assert err.text.count("epoch ") == 3
    assert "\x1b" not in out.text + err.text
    assert repr(run).startswith("TrainedRun(embedding_dot_bias, 'outputs/train/")
    assert f"test RMSE {run.metrics['test/rmse']:.4f}, user and item biases " in repr(run)


class Press(pytorch_lightning.Callback):
    """Ctrl-C at the end of an epoch."""

    takes_blocks = True

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_the_run_and_not_the_process(frame):
    whole = train(frame, overrides={"trainer.max_epochs": 4})
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(InterruptedRunError, match=r"stopped at step.*\(saved\)") as raised:
        train(frame, run_dir="mine", callbacks=[Press(1)], overrides={"trainer.max_epochs": 4})
    assert isinstance(raised.value, lc.LightningCollabError)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    path = Path("mine").absolute()
    advice = f"lightning_collab.load({str(path)!r}).resume(frame)"
    assert advice in str(raised.value)
    run = eval(advice, {"lightning_collab": lc, "frame": frame})
    assert run.metrics["epochs"] == 4
    assert same(weights(run), weights(whole))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


class PressWhenMeasured(pytorch_lightning.Callback):
    """Ctrl-C while the test part is measured."""

    def on_test_start(self, trainer, pl_module):
        raise KeyboardInterrupt


def test_ctrl_c_while_a_run_is_measured(frame):
    with pytest.raises(InterruptedRunError, match=r"\.resume\(frame\)"):
        train(frame, run_dir="mine", callbacks=[PressWhenMeasured()])
    run = lc.load("mine").resume(frame)
    assert json.loads((run.path / "metrics.json").read_text())["epochs"] == 3


class HuberConfig(LossConfig):
    """Of the loss below."""

    name: Literal["huber_of_a_test"] = "huber_of_a_test"
    # Where the square ends.
    delta: float = 1.0


def test_a_loss_and_a_model_of_ones_own_by_their_classes(frame):
    @lc.register_loss
    class Huber(lc.PointwiseLoss):
        config_class = HuberConfig

        def __call__(self, predicted, target):
            delta = self.config.delta
            return torch.nn.functional.huber_loss(predicted, target, reduction="sum", delta=delta)

    run = train(frame, loss=Huber(HuberConfig(delta=0.5)))
    assert run.config["loss"] == {"name": "huber_of_a_test", "delta": 0.5}
    assert train(frame, loss=Huber).config["loss"]["delta"] == 1.0
    assert not same(weights(run), weights(train(frame)))
    assert run.evaluate() == lc.load(run.path).evaluate(frame)

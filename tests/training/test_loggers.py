"""Curves, hyper-parameters and final numbers in each logger, none, and several at once."""

import csv
import json
import sys

import pytest
import yaml
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from lightning_collab.errors import ConfigError, StorageError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training import csv_curves, loggers
from lightning_collab.training.build import load_data
from lightning_collab.training.csv_curves import CSVCurves
from lightning_collab.training.loggers import RunTensorBoard, build_loggers, check_loggers
from lightning_collab.training.run import train

QUICK = ("callbacks.progress_bar=false", "data.batch_size=64", "model.factors=4")
EVERY_STEP = "trainer.log_every_n_steps=1"


@pytest.fixture
def trained(small_table, run_config, tmp_path):
    def run(*overrides, resume=False, **options):
        config = run_config(*QUICK, *overrides)
        directory = RunDirectory(tmp_path / "run")
        directory.path.mkdir(exist_ok=True)
        data = load_data(config, small_table)
        return train(config, directory, data=data, resume=resume, **options), directory

    return run


def lines(run):
    with (run.csv / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def curve(run, name):
    return [(int(line["step"]), float(line[name])) for line in lines(run) if line[name]]


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_all_curves_and_final_numbers_are_in_the_table(engine, trained):
    options = ("logger=csv", EVERY_STEP, f"training.engine={engine}", "trainer.max_epochs=2")
    metrics, run = trained(*options)
    assert [step for step, _ in curve(run, "val/rmse")] == [7, 15]
    assert [step for step, _ in curve(run, "train/loss")] == [7, 15]
    assert [step for step, _ in curve(run, "lr-Adam/biases")] == list(range(16))
    assert curve(run, "final/test_rmse") == [(15, metrics["test/rmse"])]
    assert min(value for _, value in curve(run, "val/rmse")) == pytest.approx(metrics["val/rmse"])
    shown = yaml.safe_load((run.csv / "hparams.yaml").read_text())
    assert shown["optimizer.lr"] == 0.003
    assert shown["data.root"] == "null"
    assert not run.tensorboard.exists()


def test_a_resumed_run_keeps_its_earlier_lines(trained):
    trained("logger=csv", EVERY_STEP, "trainer.max_epochs=1")
    _, run = trained("logger=csv", EVERY_STEP, "trainer.max_epochs=3", resume=True)
    assert [step for step, _ in curve(run, "val/rmse")] == [7, 15, 23]
    assert [step for step, _ in curve(run, "lr-Adam/biases")] == list(range(24))
    assert yaml.safe_load((run.csv / "hparams.yaml").read_text())["trainer.max_epochs"] == 3


def test_lines_beyond_the_checkpoint_are_replaced_not_repeated(tmp_path):
    run = RunDirectory(tmp_path)
    killed = CSVCurves(run)
    for step in range(4):
        killed.log_metrics({"loss": 1.0}, step)
    killed.save()
    resumed = CSVCurves(run)
    resumed.log_metrics({"loss": 2.0, "rate": 0.1}, 2)
    resumed.save()
    resumed.log_metrics({"loss": 2.0}, 3)
    resumed.finalize("success")
    assert curve(run, "loss") == [(0, 1.0), (1, 1.0), (2, 2.0), (3, 2.0)]
    assert curve(run, "rate") == [(2, 0.1)]
    # A run that begins anew in the same folder leaves nothing of the one before.
    anew = CSVCurves(run)
    anew.log_metrics({"loss": 3.0}, 0)
    anew.save()
    assert curve(run, "loss") == [(0, 3.0)]


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    run = RunDirectory(tmp_path)
    first = CSVCurves(run)
    first.log_metrics({"loss": 1.25}, 0)
    first.log_metrics({"loss": 1.75}, 1)
    first.save()
    table = run.csv / "metrics.csv"
    table.write_text(table.read_text()[:-3])
    second = CSVCurves(run)
    second.log_metrics({"loss": 2.0}, 5)
    second.save()
    assert curve(run, "loss") == [(0, 1.25), (5, 2.0)]


def test_ranks_other_than_zero_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = CSVCurves(RunDirectory(tmp_path))
    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_hyperparams({"lr": 1.0})
    logger.finalize("success")
    assert not any(tmp_path.iterdir())


def test_other_ranks_open_no_run_elsewhere(run_config, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: "installed")
    monkeypatch.setenv("LOCAL_RANK", "1")
    made = build_loggers(run_config("logger=[wandb,mlflow]"), RunDirectory(tmp_path))
    assert [type(each) for each in made] == [DummyLogger, DummyLogger]
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_said_of_the_table(trained, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "metrics.csv")

    monkeypatch.setattr(csv_curves, "write_atomically", full)
    with pytest.raises(StorageError, match=r"cannot write .*metrics\.csv: No space left"):
        trained("logger=csv", "trainer.max_epochs=1")


def test_several_loggers_have_the_same_curves(trained):
    from lightning_collab.inspection.figures import read_curves, read_curves_of

    _, run = trained("logger=[tensorboard,csv]", EVERY_STEP, "trainer.max_epochs=2")
    board = read_curves(run.tensorboard)
    run.tensorboard.rename(run.path / "elsewhere")
    table = read_curves_of(run)
    # TensorBoard has the final numbers at the end of the HParams page's own steps.
    for name in ("val/rmse", "train/loss", "lr-Adam/embeddings"):
        assert table[name].steps.tolist() == board[name].steps.tolist()
        assert table[name].values == pytest.approx(board[name].values, rel=1e-6)
    assert {name for name in board if not name.startswith(("test/", "val/kept_"))} <= {*table}


def test_tensorboard_opens_with_what_matters_and_compares_what_differs(trained):
    overrides = ("logger=tensorboard", EVERY_STEP, "optimizer.lr=0.02", "trainer.max_epochs=1")
    metrics, run = trained(*overrides, "trainer.log_every_n_steps=3")
    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]
    assert {tag.partition("/")[0] for tag in tags} == {"test", "train", "val"}
    assert events.Scalars("val/kept_rmse")[0].value == pytest.approx(metrics["val/rmse"])
    summary = events.summary_metadata["_hparams_/session_start_info"]
    content = HParamsPluginData.FromString(summary.plugin_data.content).session_start_info.hparams
    assert content["optimizer.lr"].number_value == 0.02
    assert content["model.factors"].number_value == run.read_config().model.factors
    assert content["trainer.log_every_n_steps"].number_value == 3, "not the usual value"
    assert {"seed", "loss.name", "data.batch_size"} <= set(content)
    # What no run changes.
    assert not {"trainer.benchmark", "data.columns.user"} & set(content)


def test_none_leaves_nothing(trained):
    _, run = trained("logger=none", "trainer.max_epochs=1")
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "history.parquet",
        "items.parquet",
        "metrics.json",
        "sums.json",
        "users.parquet",
    ]


def test_tensorboard_comes_first(run_config, tmp_path):
    made = build_loggers(run_config("logger=[csv,tensorboard]"), RunDirectory(tmp_path))
    assert [type(each) for each in made] == [RunTensorBoard, CSVCurves]
    assert build_loggers(run_config("logger=none"), RunDirectory(tmp_path)) == []


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_told_before_anything_is_written(
    name, run_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(loggers, "find_spec", lambda module: None)
    config = run_config(f"logger=[csv,{name}]")
    told = rf"logger={name} needs: pip install 'lightning-collab\[{name}\]'"
    with pytest.raises(ConfigError, match=told):
        check_loggers(config.logger)
    with pytest.raises(ConfigError, match=told):
        train(config, RunDirectory(tmp_path / "run"))
    assert not any((tmp_path / "run").iterdir())
    check_loggers(run_config("logger=[csv,tensorboard]").logger)


@pytest.mark.slow
def test_weights_and_biases_offline(trained):
    pytest.importorskip("wandb", reason="needs the extra: lightning-collab[wandb]")
    options = ("logger=wandb", "logger.wandb.project=films", "logger.wandb.tags=[a]", EVERY_STEP)
    trained(*options, "trainer.max_epochs=1")
    metrics, run = trained(*options, "trainer.max_epochs=2", resume=True)
    known = json.loads(run.logger_ids.read_text())["wandb"]
    files = sorted((run.path / "wandb").glob(f"offline-run-*-{known}/run-{known}.wandb"))
    assert len(files) == 2, "a resumed run goes on under the same name"
    first, second = (_records(file.read_bytes()) for file in files)
    begun = [each.run for each in first if each.HasField("run")]
    assert (begun[0].project, begun[0].display_name, list(begun[0].tags)) == ("films", "run", ["a"])
    assert _values(first, "config", "update")["optimizer.lr"] == 0.003
    for records, step in ((first, 7), (second, 15)):
        measured = [line for line in _lines_of(records) if "val/rmse" in line]
        assert [line["trainer/global_step"] for line in measured] == [step]
    assert [line["val/rmse"] for line in _lines_of(second) if "val/rmse" in line] == [
        pytest.approx(metrics["val/rmse"])
    ]
    assert _values(second, "summary", "update")["final/test_rmse"] == pytest.approx(
        metrics["test/rmse"]
    )
    assert next(each for each in second if each.HasField("exit")).exit.exit_code == 0


def _records(content):
    """What is in a file of Weights & Biases, which is a log of LevelDB after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    block, at, part, records = 1 << 15, 7, b"", []
    while at + 7 <= len(content):
        if block - at % block < 7:
            at += block - at % block
            continue
        size = int.from_bytes(content[at + 4 : at + 6], "little")
        kind, part = content[at + 6], part + content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(Record.FromString(part))
            part = b""
    return records


def _values(records, kind, field):
    found = [item for each in records for item in getattr(getattr(each, kind), field)]
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in found}


def _lines_of(records):
    return [_values([each], "history", "item") for each in records if each.HasField("history")]


@pytest.mark.slow
def test_a_run_of_weights_and_biases_that_fails_is_ended(run_config, tmp_path):
    wandb = pytest.importorskip("wandb", reason="needs the extra: lightning-collab[wandb]")
    [logger] = build_loggers(run_config("logger=wandb"), RunDirectory(tmp_path))
    logger.log_metrics({"loss": 1.0}, 0)
    logger.finalize("failed")
    with pytest.raises(wandb.UsageError):
        logger.experiment.log({"loss": 1.0})


@pytest.mark.slow
def test_mlflow_in_a_database_of_the_run(trained):
    pytest.importorskip("mlflow", reason="needs the extra: lightning-collab[mlflow]")
    from mlflow.tracking import MlflowClient

    options = ("logger=mlflow", "logger.mlflow.tags={kind: test}", EVERY_STEP)
    trained(*options, "trainer.max_epochs=1")
    metrics, run = trained(*options, "trainer.max_epochs=2", resume=True)
    client = MlflowClient(f"sqlite:///{run.mlflow}")
    experiment = client.get_experiment_by_name("lightning-collab")
    [found] = client.search_runs([experiment.experiment_id])
    assert found.info.run_id == json.loads(run.logger_ids.read_text())["mlflow"]
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run")
    assert found.data.params["optimizer.lr"] == "0.003"
    # A parameter is for good; what the resume has changed is a tag.
    assert found.data.params["trainer.max_epochs"] == "1"
    assert found.data.tags["trainer.max_epochs"] == "2"
    assert found.data.tags["kind"] == "test"
    assert found.data.metrics["final/test_rmse"] == pytest.approx(metrics["test/rmse"])
    history = client.get_metric_history(found.info.run_id, "val/rmse")
    assert [each.step for each in history] == [7, 15]


@pytest.mark.slow
def test_a_run_begins_anew_where_mlflow_does_not_know_it(run_config, tmp_path):
    pytest.importorskip("mlflow", reason="needs the extra: lightning-collab[mlflow]")
    run = RunDirectory(tmp_path)
    ids = []
    for name in ("one", "one", "two"):
        config = run_config(
            "logger=mlflow", f"logger.mlflow.tracking_uri=sqlite:///{tmp_path}/{name}"
        )
        [logger] = build_loggers(config, run)
        ids.append(logger.run_id)
    assert ids[0] == ids[1] != ids[2]
    assert json.loads(run.logger_ids.read_text())["mlflow"] == ids[2]


@pytest.mark.slow
def test_what_mlflow_refuses_is_one_message(run_config, tmp_path):
    pytest.importorskip("mlflow", reason="needs the extra: lightning-collab[mlflow]")
    config = run_config("logger=mlflow", f"logger.mlflow.tracking_uri=file://{tmp_path}/runs")
    with pytest.raises(ConfigError, match=r"logger\.mlflow: MLflow refuses file://"):
        build_loggers(config, RunDirectory(tmp_path))


def test_a_logger_of_anybody_gets_the_final_numbers(trained, monkeypatch):
    class Noted(Logger):
        name, version = "noted", 0

        def __init__(self):
            super().__init__()
            self.seen = []

        def log_metrics(self, metrics, step=None):
            self.seen.append((dict(metrics), step))

        def log_hyperparams(self, params, *_, **__):
            self.seen.append((dict(params), None))

    noted = Noted()
    monkeypatch.setattr(
        sys.modules["lightning_collab.training.trainer"], "build_loggers", lambda *_: [noted]
    )
    metrics, _ = trained("trainer.max_epochs=1")
    assert noted.seen[0][0]["optimizer.lr"] == 0.003
    final = {name: metrics[name] for name in ("val/rmse", "val/mae", "test/rmse", "test/mae")}
    expected = {f"final/{name.replace('/', '_')}": value for name, value in final.items()}
    assert noted.seen[-1] == (expected, 7)

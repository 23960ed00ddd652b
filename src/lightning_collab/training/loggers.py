"""Where curves, hyper-parameters and final numbers of a run go: none, one or several loggers."""

import csv
import io
import json
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import yaml
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_collab.config import RunConfig
from lightning_collab.config.logger import LoggersConfig, MLflowConfig, WandbConfig
from lightning_collab.config.section import flat, invalid
from lightning_collab.runs.atomic_write import write_atomically
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.launch import is_first_rank

# Loggers that are packages of their own; each has an extra of its name that brings it.
PACKAGES = ("wandb", "mlflow")
# Of the metrics, those that stand beside the config where runs are compared.
FINAL = ("val/rmse", "val/mae", "test/rmse", "test/mae")


def check_loggers(config: LoggersConfig) -> None:
    """Refuse a logger whose package is not installed, before anything is written.

    Args:
        config: the `logger` section.

    Raises:
        ConfigError: the message names the extra that brings it.
    """
    for name in config.names:
        if name in PACKAGES and find_spec(name) is None:
            raise invalid(f"logger={name} needs: pip install 'lightning-collab[{name}]'")


def build_loggers(config: RunConfig, run: RunDirectory) -> list[Logger]:
    """The loggers that a config asks for, TensorBoard first; a resumed run goes on in each.

    Args:
        config: of the run.
        run: where they write.

    Raises:
        ConfigError: the package of one is not installed.
    """
    check_loggers(config.logger)
    loggers: list[Logger] = []
    if config.logger.tensorboard is not None:
        loggers.append(
            TensorBoardLogger(run.tensorboard, name="", version="", default_hp_metric=False)
        )
    if config.logger.csv is not None:
        loggers.append(CSVCurves(run))
    if config.logger.wandb is not None:
        loggers.append(_wandb(config.logger.wandb, run))
    if config.logger.mlflow is not None:
        loggers.append(_mlflow(config.logger.mlflow, run))
    return loggers


class CSVCurves(Logger):
    """One table of all curves, to which a resumed run adds.

    Lightning's CSVLogger begins its file anew. A line is what was logged at once; columns are added
    as metrics come. Lines of steps that a killed run took beyond its last checkpoint are replaced
    when the resumed run takes them again.

    Args:
        run: the files are in its folder `csv`.
    """

    def __init__(self, run: RunDirectory) -> None:
        super().__init__()
        self._table = run.csv / "metrics.csv"
        self._hparams = run.csv / "hparams.yaml"
        # None: this process has written none yet.
        self._columns: list[str] | None = None
        self._waiting: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        """Of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """There is one."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder."""
        return str(self._table.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any], *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Write hparams.yaml."""
        self._hparams.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._hparams, yaml.safe_dump(dict(params), sort_keys=False))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep a line for the next `save`."""
        values = {key: float(value) for key, value in metrics.items()}
        self._waiting.append({"step": "" if step is None else step, **values})

    @rank_zero_only
    def save(self) -> None:
        """Write the lines that wait."""
        if not self._waiting:
            return
        if self._columns is None:
            first = min(_step(line) for line in self._waiting)
            kept = [line for line in self._lines() if _step(line) < first]
            self._rewrite([*kept, *self._waiting])
        elif any(key not in self._columns for line in self._waiting for key in line):
            self._rewrite([*self._lines(), *self._waiting])
        else:
            with self._table.open("a", newline="") as file:
                file.write(_as_csv(self._waiting, self._columns))
        self._waiting = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what waits."""
        self.save()

    def _lines(self) -> list[dict[str, Any]]:
        text = self._table.read_text() if self._table.is_file() else ""
        # What a full disk has cut short is left out.
        return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))

    def _rewrite(self, lines: Sequence[Mapping[str, Any]]) -> None:
        keys = dict.fromkeys(key for line in lines for key in line)
        self._columns = ["step", *sorted(key for key in keys if key != "step")]
        self._table.parent.mkdir(parents=True, exist_ok=True)
        header = _as_csv([dict(zip(self._columns, self._columns, strict=True))], self._columns)
        write_atomically(self._table, header + _as_csv(lines, self._columns))


def _step(line: Mapping[str, Any]) -> int:
    return int(line["step"] or 0)


def _as_csv(lines: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(lines)
    return text.getvalue()


class RunWandb(WandbLogger):
    """Lightning's logger for Weights & Biases, which does not end a run that has failed."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End a run that has failed; one that went well gets its final numbers first."""
        super().finalize(status)
        if status == "failed":
            self.experiment.finish(exit_code=1)


def _wandb(config: WandbConfig, run: RunDirectory) -> WandbLogger:
    if not is_first_rank():
        return RunWandb(project=config.project, save_dir=run.path)
    if config.mode != "online":
        # Nothing leaves this machine, reports of errors neither.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    known = _known_ids(run).get("wandb", uuid.uuid4().hex[:8])
    try:
        experiment = wandb.init(
            project=config.project,
            entity=config.entity,
            name=config.name or run.path.name,
            group=config.group,
            tags=config.tags or None,
            dir=run.path,
            id=known,
            resume="allow",
            mode=config.mode,
            # Beside one that a notebook has begun.
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=config.mode != "online"),
        )
    except wandb.Error as error:
        raise invalid(
            f"logger.wandb: Weights & Biases refuses: {_first_line(error)}; see wandb login, or "
            "set logger.wandb.mode=offline"
        ) from error
    experiment.define_metric("trainer/global_step")
    experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    _keep_id(run, "wandb", known)
    return RunWandb(project=config.project, save_dir=run.path, experiment=experiment)


def _mlflow(config: MLflowConfig, run: RunDirectory) -> MLFlowLogger:
    # What MLflow would tell its makers of each call.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    known = _known_ids(run).get("mlflow")
    place = config.tracking_uri or f"sqlite:///{run.mlflow.absolute().as_posix()}"
    try:
        logger = MLFlowLogger(
            experiment_name=config.experiment,
            run_name=config.name or run.path.name,
            tracking_uri=place,
            tags=dict(config.tags),
            run_id=known,
        )
        if is_first_rank():
            client = MlflowClient(place)
            if known is not None:
                client.update_run(known, status="RUNNING")
            elif client.get_experiment_by_name(config.experiment) is None:
                # Lightning would warn of it, and knows no better place for files.
                files = None if config.tracking_uri else (run.path.absolute() / "mlflow").as_uri()
                client.create_experiment(config.experiment, artifact_location=files)
            _keep_id(run, "mlflow", str(logger.run_id))
    except MlflowException as error:
        raise invalid(f"logger.mlflow: MLflow refuses {place}: {_first_line(error)}") from error
    return logger


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _known_ids(run: RunDirectory) -> dict[str, str]:
    """Under which names the loggers know this run already."""
    try:
        ids: dict[str, str] = json.loads(run.logger_ids.read_text())
    except (OSError, ValueError):
        return {}
    return ids


def _keep_id(run: RunDirectory, logger: str, name: str) -> None:
    ids = {**_known_ids(run), logger: name}
    write_atomically(run.logger_ids, json.dumps(ids, indent=2) + "\n")


def log_config(loggers: Sequence[Logger], config: RunConfig) -> None:
    """Tell the loggers each config value, before the first step.

    TensorBoard is told at the end, since its HParams page takes them with the final numbers alone.

    Args:
        loggers: of the run.
        config: of the run.
    """
    shown = _shown(config)
    for logger in loggers:
        if isinstance(logger, MLFlowLogger):
            # A parameter is for good there; what a resume has changed is a tag.
            known = logger.experiment.get_run(logger.run_id).data.params
            logger.log_hyperparams({k: v for k, v in shown.items() if k not in known})
            for key, value in known.items():
                if key in shown and str(shown[key]) != value:
                    logger.experiment.set_tag(logger.run_id, key, str(shown[key]))
        elif not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(shown)


def log_results(
    loggers: Sequence[Logger], config: RunConfig, metrics: Mapping[str, Any], step: int
) -> None:
    """Log the final numbers beside the config, give all to disk, and end what has an end.

    They have names of their own (final/...), so that what is shown of a run is the checkpoint that
    is kept, not the last point of a curve.

    Args:
        loggers: of the run.
        config: of the run.
        metrics: of the run.
        step: optimizer steps taken; the curves end one before, where the last one began.
    """
    final = {f"final/{key.replace('/', '_')}": metrics[key] for key in FINAL if key in metrics}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(_shown(config), final)
        elif isinstance(logger, RunWandb):
            logger.experiment.summary.update(final)
            logger.experiment.finish()
        else:
            logger.log_metrics(final, max(step - 1, 0))
        logger.save()


def _shown(config: RunConfig) -> dict[str, Any]:
    values = flat(config.model_dump(mode="json"))
    return {key: "null" if value is None else value for key, value in values}

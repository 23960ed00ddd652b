"""Where curves, hyper-parameters and final numbers of a run go: none, one or several loggers."""

import json
import logging
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams

from lightning_collab.config import RunConfig
from lightning_collab.config.section import flat, invalid
from lightning_collab.config.trainer import LoggersConfig, MLflowConfig, WandbConfig
from lightning_collab.runs.directory import RunDirectory, board_name
from lightning_collab.runs.files import write_atomically
from lightning_collab.runs.launch import is_first_rank
from lightning_collab.training.csv_curves import CSVCurves

# Loggers that are packages of their own; each has an extra of its name that brings it.
PACKAGES = ("wandb", "mlflow")
# Of the metrics, those that stand beside the config where runs are compared.
FINAL = (
    *("val/rmse", "val/mae", "test/rmse", "test/mae"),
    *("val/ndcg@10", "val/recall@10", "test/ndcg@10", "test/recall@10"),
)


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
    """The loggers that a config asks for, TensorBoard first; a resumed run continues in each.

    Args:
        config: of the run.
        run: where they write.

    Raises:
        ConfigError: the package of one is not installed.
    """
    check_loggers(config.logger)
    loggers: list[Logger] = []
    if config.logger.tensorboard is not None:
        loggers.append(RunTensorBoard(run))
    if config.logger.csv is not None:
        loggers.append(CSVCurves(run))
    # Other ranks would open the same run once more, to log nothing.
    first = is_first_rank()
    if config.logger.wandb is not None:
        loggers.append(_wandb(config.logger.wandb, run) if first else DummyLogger())
    if config.logger.mlflow is not None:
        loggers.append(_mlflow(config.logger.mlflow, run) if first else DummyLogger())
    return loggers


# What the HParams page sorts and filters by; all else is text there.
PLAIN = (bool, int, float, str)


class RunTensorBoard(TensorBoardLogger):
    """TensorBoard's logger, by names that sort as one reads: test, train, val, then weights.

    Args:
        run: where it writes.
    """

    def __init__(self, run: RunDirectory) -> None:
        super().__init__(run.tensorboard, name="", version="", default_hp_metric=False)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars; the epoch, which each step of the x-axis says, is none of them."""
        shown = {board_name(name): each for name, each in metrics.items() if name != "epoch"}
        super().log_metrics(shown, step)

    @rank_zero_only
    def log_compared(
        self, values: Mapping[str, Any], metrics: Mapping[str, float], step: int
    ) -> None:
        """Log what the HParams page compares runs by.

        Lightning would list this run's values for the whole page. Without a list TensorBoard goes
        by all runs, and puts first what differs between them.

        Args:
            values: of the config.
            metrics: the final numbers.
            step: optimizer steps taken.
        """
        if not metrics:
            return  # the page shows no run without any
        self.log_metrics(metrics, step)
        plain = {
            key: each if isinstance(each, PLAIN) else str(each) for key, each in values.items()
        }
        _, *of_this_run = hparams(plain, dict(metrics))  # type: ignore[no-untyped-call]
        for summary in of_this_run:
            self.experiment.file_writer.add_summary(summary, step)


class RunWandb(WandbLogger):
    """Lightning's logger for Weights & Biases, which would leave a run that has failed open."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End a run that has failed; one that went well gets its final numbers first."""
        super().finalize(status)
        if status == "failed":
            self.experiment.finish(exit_code=1)


def _wandb(config: WandbConfig, run: RunDirectory) -> WandbLogger:
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
    place = config.tracking_uri or f"sqlite:///{run.mlflow.absolute().as_posix()}"
    try:
        client = MlflowClient(place)
        known = _known_ids(run).get("mlflow")
        if known is not None and not _is_in(client, known):
            known = None
        logger = MLFlowLogger(
            experiment_name=config.experiment,
            run_name=config.name or run.path.name,
            tracking_uri=place,
            tags=dict(config.tags),
            run_id=known,
        )
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


def _is_in(client: Any, run_id: str) -> bool:
    """Whether a run is known where it is to go on; not where another database was typed."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


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
            # A parameter cannot be changed there; what a resume has changed is a tag.
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
    known = {key: metrics[key] for key in FINAL if key in metrics}
    final = {f"final/{key.replace('/', '_')}": value for key, value in known.items()}
    for logger in loggers:
        if isinstance(logger, RunTensorBoard):
            # In the groups of the curves, so that none stands before them.
            board = {key.replace("val/", "val/kept_", 1): value for key, value in known.items()}
            logger.log_compared(_compared(config), board, step)
        elif isinstance(logger, RunWandb):
            logger.experiment.summary.update(final)
            logger.experiment.finish()
        else:
            logger.log_metrics(final, max(step - 1, 0))
        logger.save()


# What runs are compared by, their defaults too.
COMPARED = re.compile(
    r"(model|loss|optimizer|scheduler|averaging|split|features)\.|seed$|data\.(name|batch_size)$"
    r"|trainer\.max_epochs$"
)


def _compared(config: RunConfig) -> dict[str, Any]:
    """The values on the HParams page, which puts those that differ first."""
    typed = dict(flat(config.model_dump(mode="json", exclude_defaults=True)))
    return {
        key: value
        for key, value in _shown(config).items()
        if key in typed or (value != "null" and COMPARED.match(key))
    }


def _shown(config: RunConfig) -> dict[str, Any]:
    values = flat(config.model_dump(mode="json"))
    return {key: "null" if value is None else value for key, value in values}

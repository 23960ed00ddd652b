"""One trial: a run that validates, reports and may be pruned, and never sees the test part."""

import json
import logging
import os
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
import pytorch_lightning as pl

from lightning_collab.config import RunConfig
from lightning_collab.config.trainer import LoggersConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources import load_ratings
from lightning_collab.errors import ConfigError, LightningCollabError, TrainingError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import write_atomically
from lightning_collab.runs.launch import is_first_rank
from lightning_collab.training.build import load_data
from lightning_collab.training.console import run_log
from lightning_collab.training.run import InterruptedRunError, train
from lightning_collab.tuning.processes import OUTPUT_FILE, error_tail, run_subprocess

SPLITS_KEPT = 8


class PreparedData:
    """Tables and splits of the trials that one process runs.

    A table is kept as long as trials ask for the same source; the splits last used are kept too,
    one for each batch size, seed and set of features, since a data module has these.
    """

    def __init__(self) -> None:
        self._source: str | None = None
        self._table: RatingTable | None = None
        self._modules: OrderedDict[str, RatingDataModule] = OrderedDict()

    def of(self, config: RunConfig) -> RatingDataModule:
        """The split ratings that a config asks for.

        Args:
            config: of a trial.

        Raises:
            DataError: they cannot be found, read or split.
        """
        source = config.data.model_dump_json(exclude={"batch_size"})
        if config.data.mapped:  # the columns on disk are of a split
            source += config.split.model_dump_json()
        if self._table is None or source != self._source:
            self._modules.clear()
            self._table, self._source = load_ratings(config.data, split=config.split), source
        parts = (config.split.model_dump_json(), config.features.model_dump_json())
        key = f"{config.batch_size} {config.seed} {' '.join(parts)}"
        if key not in self._modules:
            self._modules[key] = load_data(config, self._table)
            if len(self._modules) > SPLITS_KEPT:
                self._modules.popitem(last=False)
        self._modules.move_to_end(key)
        return self._modules[key]


# Takes the number of epochs done and the objective after the last; returns whether to prune.
Report = Callable[[int, float], bool]


class OrphanedTrialError(TrainingError):
    """The process that asked for this trial has gone."""


class PruneTrial(pl.Callback):
    """Reports the objective after every epoch and stops the trial where the pruner says so.

    Rank zero asks; all ranks stop in the same epoch. The last epoch is reported too, but a trial
    that has come so far is complete.

    Args:
        report: see `Report`; None on ranks other than zero.
        objective: a metric of the validation part; None: nothing is reported.
        max_epochs: of the trial.
        parent: the process for which the trial runs, where that is another; without it the trial
            stops, since nobody would tell the study how it ended.
    """

    def __init__(
        self,
        report: Report | None,
        objective: str | None,
        max_epochs: int,
        parent: int | None = None,
    ) -> None:
        self._report = report
        self._objective = objective
        self._max_epochs = max_epochs
        self._parent = parent
        self.epochs = 0
        self.metrics: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, and raise `optuna.TrialPruned` on all ranks or none."""
        known: dict[str, Any] = trainer.callback_metrics
        # The training loss in it is of the epoch before: the module logs it after its callbacks.
        found = {key: float(value) for key, value in known.items() if key.startswith("val/")}
        self.after_epoch(trainer.current_epoch + 1, found, trainer.strategy.broadcast)

    def after_epoch(
        self,
        epochs: int,
        metrics: dict[str, float],
        agreed: Callable[[bool], bool] = lambda prune: prune,
    ) -> None:
        """Report, and raise `optuna.TrialPruned` where the pruner says so.

        Args:
            epochs: that are done.
            metrics: after the last.
            agreed: what all ranks do, from what rank zero would.
        """
        if self._parent is not None and os.getppid() != self._parent:
            raise OrphanedTrialError("the sweep is gone, so the trial stops")
        self.epochs, self.metrics = epochs, metrics
        if self._objective is None:
            return
        prune = False
        if self._report is not None:
            if self._objective not in metrics:
                raise ConfigError(
                    f"hydra.sweeper.objective: {self._objective} is not measured after an epoch; "
                    f"known here: {', '.join(sorted(metrics))}"
                )
            prune = self._report(epochs, metrics[self._objective])
        if agreed(prune and epochs < self._max_epochs):
            raise optuna.TrialPruned(f"pruned after {epochs} epochs")


def report_to(trial: optuna.Trial) -> Report:
    """Reports go into a trial, and its study's pruner decides."""

    def report(epochs: int, value: float) -> bool:
        trial.report(value, epochs)
        return trial.should_prune()

    return report


log = logging.getLogger(__name__)

TRIAL_FILE = "trial.json"
REQUEST_FILE = ".trial-request.json"
STORAGE_VARIABLE = "LIGHTNING_COLLAB_STUDY_STORAGE"


@dataclass
class Outcome:
    """How a trial ended.

    Attributes:
        state: `complete`, `pruned`, `failed` on its own, or `interrupted` from outside.
        metrics: of metrics.json; of a pruned trial those after its last epoch.
        epochs: trained.
        seconds: wall clock of the whole trial.
        error: the message of a failed trial.
        traceback: of an error that is no message for the user.
    """

    state: Literal["complete", "pruned", "failed", "interrupted"]
    metrics: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    error: str | None = None
    traceback: str | None = None


def trial_config(config: RunConfig) -> RunConfig:
    """The config of a run as a trial runs it: quiet, and without curves of its own.

    The curves and parameters of all trials are in the study, and from there in the report and on
    TensorBoard's HParams page.

    Args:
        config: of the run.
    """
    return config.model_copy(
        update={
            "logger": LoggersConfig(),
            "callbacks": config.callbacks.model_copy(update={"progress_bar": False}),
        }
    )


def needs_subprocess(config: RunConfig) -> bool:
    """Whether a run has several ranks, which Lightning starts by running its program again.

    Raises:
        ConfigError: the ranks are on several machines, where a sweep cannot start them.
    """
    settings = config.trainer
    if settings.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={settings.num_nodes}: a sweep starts each run on one machine; for "
            "more machines give each its own trials (docs/tuning.md)"
        )
    return settings.strategy != "auto" or settings.devices not in (1, "auto")


def run_in_process(
    config: RunConfig, directory: Path, callback: PruneTrial, data: PreparedData | None
) -> Outcome:
    """Run a trial in this process.

    Args:
        config: from `trial_config`.
        directory: of the trial; it is made.
        callback: reports and prunes.
        data: where the process keeps its ratings; None: they are loaded.
    """
    directory.mkdir(parents=True, exist_ok=True)
    run = RunDirectory(directory)
    first = is_first_rank()
    started = time.perf_counter()
    outcome = Outcome("complete")
    with run_log(run.log_file if first else None, silent=True):
        try:
            prepared = data.of(config) if data is not None else None
            outcome.metrics = train(
                config, run, callbacks=[callback], data=prepared, test=False, loadable=False
            )
        except (Exception, KeyboardInterrupt) as error:
            outcome = outcome_of(error, callback.metrics)
    outcome.epochs = callback.epochs
    outcome.seconds = round(time.perf_counter() - started, 3)
    return outcome


def outcome_of(error: BaseException, metrics: dict[str, Any]) -> Outcome:
    """How a trial ended that was stopped by an error, which goes to its log where it is a fault.

    Args:
        error: any.
        metrics: the last ones before it.
    """
    if isinstance(error, optuna.TrialPruned):
        return Outcome("pruned", metrics)
    if isinstance(error, InterruptedRunError | OrphanedTrialError | KeyboardInterrupt):
        return Outcome("interrupted", metrics, error=str(error))
    outcome = Outcome("failed", metrics, error=str(error))
    if not isinstance(error, LightningCollabError):
        outcome.error = f"{type(error).__name__}: {error}"
        outcome.traceback = "".join(traceback.format_exception(error))
    log.debug("the trial failed", exc_info=error)
    return outcome


@dataclass(frozen=True)
class Request:
    """What a process of its own needs to know of its trial, beside the storage's URL.

    Attributes:
        config: the run's, plain.
        study_name: in the storage.
        number: of the trial.
        objective: what is reported; None: nothing.
        pruner: its node.
        parent: the process that waits for the outcome.
    """

    config: dict[str, Any]
    study_name: str
    number: int
    objective: str | None
    pruner: dict[str, Any]
    parent: int


def run_in_subprocess(request: Request, directory: Path, storage_url: str, threads: int) -> Outcome:
    """Run a trial of several ranks in processes of its own.

    Lightning starts further ranks by running the program's command again. In a multirun that would
    be the whole sweep; here it is one trial with its directory named.

    Args:
        request: what to run.
        directory: of the trial; it is made.
        storage_url: with its password; handed on through the environment, not through a file.
        threads: that each rank may use.
    """
    directory.mkdir(parents=True, exist_ok=True)
    outcome_file = directory / TRIAL_FILE
    outcome_file.unlink(missing_ok=True)
    write_atomically(directory / REQUEST_FILE, json.dumps(asdict(request)))
    command = [sys.executable, "-m", "lightning_collab.tuning.trial_process", str(directory)]
    environment = {STORAGE_VARIABLE: storage_url, "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    returncode, asked_to_stop = run_subprocess(command, environment, directory / OUTPUT_FILE)
    (directory / REQUEST_FILE).unlink(missing_ok=True)
    seconds = round(time.perf_counter() - started, 3)
    if not outcome_file.is_file():
        if asked_to_stop:
            return Outcome("interrupted", seconds=seconds)
        reason = error_tail(directory / OUTPUT_FILE, returncode)
        return Outcome("failed", seconds=seconds, error=f"{reason} (see {directory / OUTPUT_FILE})")
    outcome = Outcome(**json.loads(outcome_file.read_text()))
    outcome.seconds = seconds
    return outcome


def write_outcome(outcome: Outcome, directory: Path, **further: Any) -> None:
    """Keep how a trial ended in its directory, as trial.json."""
    write_atomically(
        directory / TRIAL_FILE, json.dumps({**further, **asdict(outcome)}, indent=2) + "\n"
    )

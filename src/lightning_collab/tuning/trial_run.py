"""One trial: a run that validates, reports and may be pruned, and never sees the test part."""

import json
import logging
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna

from lightning_collab.config import RunConfig
from lightning_collab.errors import ConfigError, LightningCollabError
from lightning_collab.training.console import run_log
from lightning_collab.training.run import InterruptedRunError, train
from lightning_collab.training.run_directory import RunDirectory
from lightning_collab.training.whole_file import write_whole
from lightning_collab.tuning.own_process import OUTPUT_FILE, last_words, run_alone
from lightning_collab.tuning.prepared_data import PreparedData
from lightning_collab.tuning.pruning import OrphanedTrialError, PruneTrial

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
            "logger": config.logger.model_copy(update={"name": "none"}),
            "callbacks": config.callbacks.model_copy(update={"progress_bar": False}),
        }
    )


def needs_own_process(config: RunConfig) -> bool:
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


def run_here(
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
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    started = time.perf_counter()
    outcome = Outcome("complete")
    with run_log(run.log_file if first else None, silent=True):
        try:
            prepared = data.of(config) if data is not None else None
            outcome.metrics = train(config, run, callbacks=[callback], data=prepared, test=False)
        except optuna.TrialPruned:
            outcome = Outcome("pruned", callback.metrics)
        except (InterruptedRunError, OrphanedTrialError, KeyboardInterrupt) as error:
            outcome = Outcome("interrupted", callback.metrics, error=str(error))
        except LightningCollabError as error:
            outcome = Outcome("failed", callback.metrics, error=str(error))
            log.debug("the trial failed", exc_info=error)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            outcome = Outcome(
                "failed", callback.metrics, error=text, traceback=traceback.format_exc()
            )
            log.debug("the trial failed", exc_info=error)
    outcome.epochs = callback.epochs
    outcome.seconds = round(time.perf_counter() - started, 3)
    return outcome


@dataclass(frozen=True)
class Request:
    """What a process of its own needs to know of its trial, beside the storage's address.

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


def run_apart(request: Request, directory: Path, storage_url: str, threads: int) -> Outcome:
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
    write_whole(directory / REQUEST_FILE, json.dumps(asdict(request)))
    command = [sys.executable, "-m", "lightning_collab.tuning.trial_process", str(directory)]
    environment = {STORAGE_VARIABLE: storage_url, "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    returncode, asked_to_stop = run_alone(command, environment, directory / OUTPUT_FILE)
    (directory / REQUEST_FILE).unlink(missing_ok=True)
    seconds = round(time.perf_counter() - started, 3)
    if not outcome_file.is_file():
        if asked_to_stop:
            return Outcome("interrupted", seconds=seconds)
        reason = last_words(directory / OUTPUT_FILE, returncode)
        return Outcome("failed", seconds=seconds, error=f"{reason} (see {directory / OUTPUT_FILE})")
    outcome = Outcome(**json.loads(outcome_file.read_text()))
    outcome.seconds = seconds
    return outcome


def write_outcome(outcome: Outcome, directory: Path, **further: Any) -> None:
    """Keep how a trial ended in its directory, as trial.json."""
    write_whole(directory / TRIAL_FILE, json.dumps({**further, **asdict(outcome)}, indent=2) + "\n")

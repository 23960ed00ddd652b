"""What is written in a trial, all trials as one table, and what pruning saved."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from optuna.trial import FrozenTrial, TrialState


class Attribute:
    """What is written in a trial, beside what Optuna writes."""

    # The last heartbeat of the worker (see `heartbeat`).
    HEARTBEAT = "worker"
    # Which start of the sweep took the trial.
    RUN = "run"
    # The worker went away before the trial had ended.
    INTERRUPTED = "interrupted"
    # The trial that tries the parameters of an interrupted one again.
    RETRIED_BY = "retried_by"
    # The interrupted trial whose parameters are tried again.
    RETRY_OF = "retry_of"
    # Why a trial failed.
    ERROR = "error"
    # Config key -> value, the derived ones too.
    OVERRIDES = "overrides"
    # Of the trial's run.
    DIRECTORY = "directory"
    # The numbers of metrics.json, or the last ones before a trial was pruned.
    METRICS = "metrics"
    # Wall clock of the trial.
    SECONDS = "seconds"
    # Epochs that the trial would have had.
    MAX_EPOCHS = "max_epochs"
    # Those that are columns of the table.
    COLUMNS = (MAX_EPOCHS, SECONDS, DIRECTORY, RETRY_OF, RETRIED_BY, ERROR)


ENDED_WELL = (TrialState.COMPLETE, TrialState.PRUNED)


def failed_by_itself(trial: FrozenTrial) -> bool:
    """Whether a trial failed on its own."""
    return trial.state == TrialState.FAIL and Attribute.INTERRUPTED not in trial.user_attrs


def ended_by_itself(trial: FrozenTrial) -> bool:
    """Whether a trial counts: COMPLETE, PRUNED, or failed on its own."""
    return trial.state in ENDED_WELL or failed_by_itself(trial)


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes:
        ended: trials that ended by themselves.
        running: trials under way.
        complete: trials that ran to the end.
        pruned: trials that were stopped early.
        failed: trials that failed on their own.
        interrupted: trials whose worker went away.
    """

    ended: int
    running: int
    complete: int
    pruned: int
    failed: int
    interrupted: int

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial]) -> "Progress":
        """Count."""
        states = Counter(trial.state for trial in trials)
        failed = sum(failed_by_itself(trial) for trial in trials)
        return cls(
            ended=states[TrialState.COMPLETE] + states[TrialState.PRUNED] + failed,
            running=states[TrialState.RUNNING],
            complete=states[TrialState.COMPLETE],
            pruned=states[TrialState.PRUNED],
            failed=failed,
            interrupted=states[TrialState.FAIL] - failed,
        )


def epochs_run(trial: FrozenTrial) -> int:
    """Epochs that a trial trained; the last step reported."""
    return trial.last_step or 0


def best_reported(trial: FrozenTrial, direction: str) -> float | None:
    """The best value that a trial reported after an epoch; None: it reported none.

    Args:
        trial: of a study of one objective.
        direction: `minimize` or `maximize`.
    """
    values = trial.intermediate_values.values()
    if not values:
        return None
    return max(values) if direction == "maximize" else min(values)


def results(trial: FrozenTrial, objectives: Sequence[str]) -> dict[str, float]:
    """The value of each objective; empty of a trial that did not run to its end."""
    if trial.state != TrialState.COMPLETE or trial.values is None:
        return {}
    return dict(zip(objectives, trial.values, strict=True))


def shown_parameters(parameters: dict[str, Any]) -> str:
    """Parameters in one line, numbers short."""
    return "  ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in parameters.items()
    )


def trial_rows(
    trials: Sequence[FrozenTrial], objectives: Sequence[str], directions: Sequence[str]
) -> list[dict[str, Any]]:
    """One dictionary a trial, all with the same keys.

    A pruned trial has no value of its own: its best epoch so far is under `best_epoch_value`.

    Args:
        trials: of a study, in the order of their numbers.
        objectives: the metrics.
        directions: `minimize` or `maximize`, one for each.
    """
    overrides = [trial.user_attrs.get(Attribute.OVERRIDES, {}) for trial in trials]
    parameters = dict.fromkeys(name for trial in trials for name in trial.params)
    derived = [name for name in dict.fromkeys(chain(*overrides)) if name not in parameters]
    return [
        {
            "trial": trial.number,
            "state": _state(trial),
            **(dict.fromkeys(objectives) | results(trial, objectives)),
            "best_epoch_value": best_reported(trial, directions[0]),
            **{name: trial.params.get(name) for name in parameters},
            **{name: values.get(name) for name in derived},
            "epochs": epochs_run(trial) or None,
            **{name: trial.user_attrs.get(name) for name in Attribute.COLUMNS},
        }
        for trial, values in zip(trials, overrides, strict=True)
    ]


def _state(trial: FrozenTrial) -> str:
    interrupted = trial.state == TrialState.FAIL and not failed_by_itself(trial)
    return "INTERRUPTED" if interrupted else trial.state.name


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV with a header; an absent value is an empty field, and no text is a formula."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet would run gets an apostrophe in front, as OWASP advises."""
    runs = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    return f"'{value}" if runs else value


@dataclass(frozen=True)
class PruningSaved:
    """Epochs and seconds of the trials that counted, and what they would have been.

    Attributes:
        trials: that were completed or pruned.
        pruned: of these.
        epochs: trained.
        epochs_whole: that would have been trained without pruning.
        seconds: wall clock, summed over trials.
        seconds_saved: the epochs not trained, each as long as the trial's own on average.
    """

    trials: int
    pruned: int
    epochs: int
    epochs_whole: int
    seconds: float
    seconds_saved: float

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial]) -> "PruningSaved":
        """Add up the trials of a study."""
        counted = [trial for trial in trials if trial.state in ENDED_WELL]
        pruned = [trial for trial in counted if trial.state == TrialState.PRUNED]
        saved = 0.0
        missing = 0
        for trial in pruned:
            left = trial.user_attrs.get(Attribute.MAX_EPOCHS, 0) - epochs_run(trial)
            missing += left
            saved += trial.user_attrs.get(Attribute.SECONDS, 0.0) / max(1, epochs_run(trial)) * left
        epochs = sum(_epochs(trial) for trial in counted)
        return cls(
            trials=len(counted),
            pruned=len(pruned),
            epochs=epochs,
            epochs_whole=epochs + missing,
            seconds=sum(trial.user_attrs.get(Attribute.SECONDS, 0.0) for trial in counted),
            seconds_saved=saved,
        )

    @property
    def share_of_trials(self) -> float:
        """Pruned trials among all."""
        return self.pruned / self.trials if self.trials else 0.0

    @property
    def share_of_epochs(self) -> float:
        """Epochs that were not trained among those that would have been."""
        return 1 - self.epochs / self.epochs_whole if self.epochs_whole else 0.0


def _epochs(trial: FrozenTrial) -> int:
    """Epochs of a trial; those of a study of several objectives report none, but end whole."""
    return epochs_run(trial) or int(trial.user_attrs.get(Attribute.MAX_EPOCHS, 0))

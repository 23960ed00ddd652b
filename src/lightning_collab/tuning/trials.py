"""What is written in a trial, all trials as one table, and what pruning saved."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

# Attribute: the last heartbeat of the worker (see `liveness`).
HEARTBEAT = "worker"
# Attribute: which start of the sweep took the trial.
RUN = "run"
# Attribute: the worker went away before the trial had ended.
INTERRUPTED = "interrupted"
# Attribute: the trial that tries the parameters of an interrupted one again.
RETRIED_BY = "retried_by"
# Attribute: the interrupted trial whose parameters are tried again.
RETRY_OF = "retry_of"
# Attribute: why a trial failed.
ERROR = "error"
# Attribute: config key -> value, the derived ones too.
OVERRIDES = "overrides"
# Attribute: of the trial's run.
DIRECTORY = "directory"
# Attribute: the numbers of metrics.json, or the last ones before a trial was pruned.
METRICS = "metrics"
# Attribute: wall clock of the trial.
SECONDS = "seconds"
# Attribute: epochs that the trial would have had.
MAX_EPOCHS = "max_epochs"

ENDED_WELL = (TrialState.COMPLETE, TrialState.PRUNED)


def ended_by_itself(trial: FrozenTrial) -> bool:
    """Whether a trial counts: COMPLETE, PRUNED, or failed on its own."""
    return trial.state in ENDED_WELL or (
        trial.state == TrialState.FAIL and INTERRUPTED not in trial.user_attrs
    )


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

        def count(state: TrialState) -> int:
            return sum(trial.state == state for trial in trials)

        interrupted = sum(
            trial.state == TrialState.FAIL and INTERRUPTED in trial.user_attrs for trial in trials
        )
        return cls(
            ended=sum(ended_by_itself(trial) for trial in trials),
            running=count(TrialState.RUNNING),
            complete=count(TrialState.COMPLETE),
            pruned=count(TrialState.PRUNED),
            failed=count(TrialState.FAIL) - interrupted,
            interrupted=interrupted,
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
    parameters = list(dict.fromkeys(name for trial in trials for name in trial.params))
    derived = list(
        dict.fromkeys(
            name
            for trial in trials
            for name in trial.user_attrs.get(OVERRIDES, {})
            if name not in parameters
        )
    )
    return [
        {
            **_row(trial, objectives, best_reported(trial, directions[0])),
            **{name: trial.params.get(name) for name in parameters},
            **{name: trial.user_attrs.get(OVERRIDES, {}).get(name) for name in derived},
            **_history(trial),
        }
        for trial in trials
    ]


def _row(trial: FrozenTrial, objectives: Sequence[str], best: float | None) -> dict[str, Any]:
    state = trial.state.name
    if trial.state == TrialState.FAIL and INTERRUPTED in trial.user_attrs:
        state = "INTERRUPTED"
    values = trial.values if trial.state == TrialState.COMPLETE and trial.values else []
    return {
        "trial": trial.number,
        "state": state,
        **dict(zip(objectives, [*values, *[None] * len(objectives)], strict=False)),
        "best_epoch_value": best,
    }


def _history(trial: FrozenTrial) -> dict[str, Any]:
    attributes = trial.user_attrs
    return {
        "epochs": epochs_run(trial) or None,
        "max_epochs": attributes.get(MAX_EPOCHS),
        "seconds": attributes.get(SECONDS),
        "directory": attributes.get(DIRECTORY),
        "retry_of": attributes.get(RETRY_OF),
        "retried_by": attributes.get(RETRIED_BY),
        "error": attributes.get(ERROR),
    }


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
        counted = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        pruned = [trial for trial in counted if trial.state == TrialState.PRUNED]
        saved = 0.0
        missing = 0
        for trial in pruned:
            left = trial.user_attrs.get(MAX_EPOCHS, 0) - epochs_run(trial)
            missing += left
            saved += trial.user_attrs.get(SECONDS, 0.0) / max(1, epochs_run(trial)) * left
        epochs = sum(_epochs(trial) for trial in counted)
        return cls(
            trials=len(counted),
            pruned=len(pruned),
            epochs=epochs,
            epochs_whole=epochs + missing,
            seconds=sum(trial.user_attrs.get(SECONDS, 0.0) for trial in counted),
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
    return epochs_run(trial) or int(trial.user_attrs.get(MAX_EPOCHS, 0))

"""What is written in a trial, and what the trials of a study say together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

SIGN = "worker"
"""Attribute: the last sign of life of the worker (see `liveness`)."""
RUN = "run"
"""Attribute: which start of the sweep took the trial."""
INTERRUPTED = "interrupted"
"""Attribute: the worker went away before the trial had ended."""
RETRIED_BY = "retried_by"
"""Attribute: the trial that tries the parameters of an interrupted one again."""
RETRY_OF = "retry_of"
"""Attribute: the interrupted trial whose parameters are tried again."""
ERROR = "error"
"""Attribute: why a trial failed."""
OVERRIDES = "overrides"
"""Attribute: config key -> value, the derived ones too."""
DIRECTORY = "directory"
"""Attribute: of the trial's run."""
METRICS = "metrics"
"""Attribute: the numbers of metrics.json, or the last ones before a trial was pruned."""
SECONDS = "seconds"
"""Attribute: wall clock of the trial."""
MAX_EPOCHS = "max_epochs"
"""Attribute: epochs that the trial would have had."""

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

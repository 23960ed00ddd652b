"""All trials of a study as one table."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lightning_collab.tuning.trials import (
    DIRECTORY,
    ERROR,
    INTERRUPTED,
    MAX_EPOCHS,
    OVERRIDES,
    RETRIED_BY,
    RETRY_OF,
    SECONDS,
    best_reported,
    epochs_run,
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

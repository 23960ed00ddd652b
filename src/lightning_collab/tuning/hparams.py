"""All trials of a study on TensorBoard's HParams page."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from lightning_collab.tuning.trials import OVERRIDES, best_reported, epochs_run

FOLDER = "tensorboard"


def write_hparams(
    trials: Sequence[FrozenTrial],
    objectives: Sequence[str],
    directions: Sequence[str],
    folder: Path,
) -> None:
    """Write one small event file a trial: its parameters, its curve and its result.

    Files of an earlier call are replaced. A pruned trial has its best epoch as its result.

    Args:
        trials: of a study.
        objectives: the metrics.
        directions: `minimize` or `maximize`, one for each.
        folder: where `trial-<number>` go.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for trial in trials:
        values = _results(trial, objectives, directions)
        if values:
            _write(trial, objectives, values, folder / f"trial-{trial.number:04d}")


def _results(
    trial: FrozenTrial, objectives: Sequence[str], directions: Sequence[str]
) -> dict[str, float]:
    if trial.state == TrialState.COMPLETE and trial.values is not None:
        return dict(zip(objectives, trial.values, strict=True))
    best = best_reported(trial, directions[0])
    if trial.state == TrialState.PRUNED and best is not None:
        return {objectives[0]: best}
    return {}


def _write(
    trial: FrozenTrial, objectives: Sequence[str], values: dict[str, float], folder: Path
) -> None:
    parameters: dict[str, Any] = {
        key: value if value is not None else "null"
        for key, value in {**trial.user_attrs.get(OVERRIDES, {}), **trial.params}.items()
    }
    parameters["state"] = trial.state.name.lower()
    results = {f"study/{name.replace('/', '_')}": value for name, value in values.items()}
    with SummaryWriter(str(folder)) as writer:
        file = writer._get_file_writer()
        for summary in hparams(parameters, results):  # type: ignore[no-untyped-call]
            file.add_summary(summary)
        for name, value in results.items():
            writer.add_scalar(name, value, epochs_run(trial))
        for epoch, value in trial.intermediate_values.items():
            writer.add_scalar(objectives[0], value, epoch)

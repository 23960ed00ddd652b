"""The mean of the predictions of a run's cycles, which costs no more training than the last."""

import re
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.splits import Rows
from lightning_collab.errors import CheckpointError
from lightning_collab.training.checkpoints import read_checkpoint
from lightning_collab.training.rating_module import RatingModule
from lightning_collab.training.run_directory import RunDirectory

CYCLE_FILE = re.compile(r"cycle-(\d+)\.ckpt")


class Snapshot(NamedTuple):
    """One cycle of a run, alone and together with those after it.

    Attributes:
        cycle: its number, from 1.
        single: RMSE of its predictions by part (`val`, `test`).
        averaged: RMSE by part of the mean of its predictions and those of all later cycles.
    """

    cycle: int
    single: dict[str, float]
    averaged: dict[str, float]


def snapshot_ensemble(
    module: RatingModule, data: RatingDataModule, run: RunDirectory
) -> list[Snapshot]:
    """Measure each cycle of a run, and means of the predictions of several.

    Huang et al. (2017), "Snapshot ensembles: train 1, get M for free". Predictions are clamped to
    the scale before and so after the mean.

    Args:
        module: takes the weights of one checkpoint after the other.
        data: split ratings.
        run: whose `cycle-<n>.ckpt` are taken.

    Returns:
        One for each cycle, in order; the last is averaged with none.

    Raises:
        CheckpointError: there are none, or they are of another model or of other data.
    """
    files = {
        int(match[1]): path
        for path in run.checkpoints.glob("cycle-*.ckpt")
        if (match := CYCLE_FILE.fullmatch(path.name))
    }
    if not files:
        raise CheckpointError(
            f"{run.checkpoints}: no cycle-<n>.ckpt to average; they are kept at the end of each "
            "cycle of scheduler=warm_restarts"
        )
    parts = {part: rows for part in ("val", "test") if len(rows := getattr(data.rows, part))}
    ratings = {part: data.columns(rows).ratings for part, rows in parts.items()}
    sums = {part: np.zeros(len(rows)) for part, rows in parts.items()}
    snapshots = []
    for count, cycle in enumerate(sorted(files, reverse=True), 1):
        module.load_trained(read_checkpoint(files[cycle]), files[cycle])
        single, averaged = {}, {}
        for part, rows in parts.items():
            predicted = clamped_predictions(module, data, rows)
            sums[part] += predicted
            single[part] = _rmse(predicted, ratings[part])
            averaged[part] = _rmse(sums[part] / count, ratings[part])
        snapshots.append(Snapshot(cycle, single, averaged))
    return snapshots[::-1]


@torch.no_grad()
def clamped_predictions(
    module: RatingModule, data: RatingDataModule, rows: Rows
) -> NDArray[np.float32]:
    """Predictions of some rows of the table, clamped to the scale, float32 [rows].

    Args:
        module: with trained weights.
        data: split ratings.
        rows: row numbers of the table.
    """
    module.eval()
    module.model.fill_unknown_rows()
    parts = [
        module(batch).clamp(*data.table.rating_range).float() for batch in data.whole_batches(rows)
    ]
    predictions: NDArray[np.float32] = torch.cat(parts).numpy()
    return predictions


def _rmse(predicted: NDArray[np.floating], ratings: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean((predicted - ratings.astype(np.float64)) ** 2)))

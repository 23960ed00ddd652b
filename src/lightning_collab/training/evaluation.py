"""Numbers of a checkpoint, and of the mean of a run's cycles."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from lightning_collab.config import RunConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.splits import Rows
from lightning_collab.data.vocabulary import Side
from lightning_collab.errors import CheckpointError
from lightning_collab.metrics.baselines import rmse
from lightning_collab.models.rating_model import SIDES
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module
from lightning_collab.training.cold_rows import cold_item_rankings, with_cold_rows
from lightning_collab.training.modules.base_module import BaseModule
from lightning_collab.training.process import random_numbers_put_back, signals_put_back
from lightning_collab.training.sharding.sharded_table import is_sharded
from lightning_collab.training.trained_model import checkpoint_of_run
from lightning_collab.training.trainer import build_measuring_trainer


class Measured(NamedTuple):
    """Numbers of a checkpoint, and what has its weights.

    Attributes:
        metrics: by the names of metrics.json.
        module: with the weights, on the CPU.
    """

    metrics: dict[str, float]
    module: BaseModule


def measure_run(
    config: RunConfig, run: RunDirectory, data: RatingDataModule, checkpoint: str | None = None
) -> Measured:
    """Measure a checkpoint of a run again, as the end of its training did.

    Args:
        config: of the run.
        run: the run directory.
        data: its ratings.
        checkpoint: `best`, `last` or the path of a file; None: the best there is.

    Raises:
        CheckpointError: there is no such checkpoint, or it is of another model or of other data.
    """
    path = checkpoint_of_run(run, checkpoint)
    with signals_put_back(), random_numbers_put_back():
        module = build_module(config, data)
        if config.trainer.precision == "64-true":
            # Before it takes the weights, which would lose half of their digits.
            module.double()
        try:
            metrics = evaluate_checkpoint(build_measuring_trainer(config), module, data, path)
        except SystemExit:
            # Lightning has turned Ctrl-C into this.
            raise KeyboardInterrupt from None
    return Measured(metrics, module.cpu())


def evaluate_checkpoint(
    trainer: pl.Trainer,
    module: BaseModule,
    data: RatingDataModule,
    checkpoint: Path,
    *,
    test: bool = True,
    sides: Sequence[Side] = SIDES,
) -> dict[str, float]:
    """Load a checkpoint's weights and measure them on the parts that there are.

    Args:
        trainer: on whose devices it is measured; its curves are left as they are.
        module: takes the weights.
        data: split ratings.
        checkpoint: of the same model on the same vocabularies.
        test: False: the test part is not looked at.
        sides: whose ids without training ratings are given rows.

    Returns:
        `val/rmse`, `val/mae`, `val/loss`, `test/rmse`, `test/mae`; those of an absent part are
        left out.

    Raises:
        CheckpointError: the checkpoint is of another model or of other data.
    """
    # A rank that has some rows of each table reads no more than those.
    content = read_checkpoint(checkpoint, mapped=is_sharded(module.model))
    module.load_trained(content, checkpoint)
    check_ratings(content, data, checkpoint)
    metrics: dict[str, float] = {}
    loggers, trainer.loggers = trainer.loggers, []
    with with_cold_rows(module, data, sides) as cold:
        module.cold = cold
        # trainer.limit_val_batches=0 and its like leave nothing to measure.
        if len(data.rows.val):
            for found in trainer.validate(module, datamodule=data, verbose=False):
                metrics |= dict(found)
        if test and len(data.rows.test):
            for found in trainer.test(module, datamodule=data, verbose=False):
                metrics |= dict(found)
            metrics |= cold_item_rankings(module, data, cold)
    trainer.loggers = loggers
    return metrics


def check_ratings(content: Mapping[str, Any], data: RatingDataModule, checkpoint: Path) -> None:
    """Refuse ratings, or parts of them, that a checkpoint of the same ids was not trained beside.

    Args:
        content: of the checkpoint; of an earlier version it does not know them.
        data: split ratings.
        checkpoint: its file, for messages.

    Raises:
        CheckpointError: they are others.
    """
    known = content.get("data_fingerprint")
    if known is not None and known != data.fingerprint:
        raise CheckpointError(
            f"{checkpoint}: it belongs to other data: users and items are the same, but ratings, "
            "their order or their parts are not those that the run was trained with; provide the "
            "original file (data.path=<file> if it has moved)"
        )


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
    module: BaseModule, data: RatingDataModule, run: RunDirectory
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
        module.model.fill_unknown_rows()
        single, averaged = {}, {}
        for part, rows in parts.items():
            predicted = clamped_predictions(module, data, rows)
            sums[part] += predicted
            single[part] = rmse(predicted - ratings[part].astype(np.float64))
            averaged[part] = rmse(sums[part] / count - ratings[part].astype(np.float64))
        snapshots.append(Snapshot(cycle, single, averaged))
    return snapshots[::-1]


@torch.no_grad()
def clamped_predictions(
    module: BaseModule, data: RatingDataModule, rows: Rows
) -> NDArray[np.float32]:
    """Predictions of some rows of the table, clamped to the scale, float32 [rows].

    Args:
        module: with trained weights.
        data: split ratings.
        rows: row numbers of the table.
    """
    module.eval()
    parts = [
        module(batch).clamp(*data.table.rating_range).float() for batch in data.whole_batches(rows)
    ]
    predictions: NDArray[np.float32] = torch.cat(parts).numpy()
    return predictions

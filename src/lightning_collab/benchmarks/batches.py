"""An epoch fed by `RatingBatches` against the same epoch fed by torch's DataLoader."""

import logging
import statistics
import time
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_collab.config import RunConfig
from lightning_collab.config.compose import composed_run
from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.training.build import build_module, load_data

BATCH_SIZES = (2048, 64)
# The lecture's optimiser, whose steps cost least, so that the feeding weighs most.
RUN = (
    "data=ml_100k",
    "optimizer=sgd",
    "trainer.max_epochs=2",
    "training.engine=eager",
    "logger=none",
)


class EpochClock(pl.Callback):
    """Seconds of each training epoch, validation apart."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self.seconds.append(time.perf_counter() - self._since)


def run(repeats: int) -> dict[str, float]:
    """Measure both ways in turn.

    Args:
        repeats: paired runs, of which medians are taken.

    Returns:
        For each batch size the seconds of an epoch either way and the ratio
        `.../rating_batches_over_dataloader` (below 1: ours is faster).
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    result: dict[str, float] = {}
    for batch_size in BATCH_SIZES:
        config = composed_run(*RUN, f"data.batch_size={batch_size}")
        data = load_data(config)
        pairs = [
            (
                _epoch_seconds(config, data, data.train_dataloader()),
                _epoch_seconds(config, data, plain_dataloader(data, batch_size)),
            )
            for _ in range(repeats)
        ]
        name = f"batches/ml_100k_batch_{batch_size}"
        ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
        result[f"{name}/rating_batches_seconds"] = ours
        result[f"{name}/dataloader_seconds"] = theirs
        result[f"{name}/rating_batches_over_dataloader"] = statistics.median(
            mine / other for mine, other in pairs
        )
    return result


def _epoch_seconds(config: RunConfig, data: RatingDataModule, loader: Iterable[Any]) -> float:
    """Seconds of the second epoch of a training, when everything is warm."""
    clock = EpochClock()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=config.trainer.max_epochs,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(build_module(config, data), train_dataloaders=loader)
    return clock.seconds[-1]


def plain_dataloader(data: RatingDataModule, batch_size: int) -> DataLoader[Any]:
    """The training ratings as anyone would feed them: a TensorDataset, shuffled, collated by row.

    Args:
        data: whose training part it is.
        batch_size: ratings in a batch.
    """
    columns = data.columns(data.rows.train)[:3]
    rows = TensorDataset(*(torch.from_numpy(column) for column in columns))

    def collate(samples: list[tuple[torch.Tensor, ...]]) -> RatingBatch:
        users, items, ratings = torch.utils.data.default_collate(samples)
        return RatingBatch(users, items, ratings, whole_size=len(ratings))

    return DataLoader(rows, batch_size=batch_size, shuffle=True, collate_fn=collate)

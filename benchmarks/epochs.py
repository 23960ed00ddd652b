"""Epochs inside Lightning's Trainer with nothing beside them, and how long they take."""

import statistics
import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_collab.config import RunConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.training.build import build_module


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


class StepClock(pl.Callback):
    """Seconds of each step of the optimizer: of the fused engine, a whole block of ratings."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to the optimizer."""
        optimizer = trainer.optimizers[0]
        optimizer.register_step_pre_hook(self._begin)
        optimizer.register_step_post_hook(self._end)

    def _begin(self, *_: object) -> None:
        self._since = time.perf_counter()

    def _end(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self._since)


def bare_trainer(epochs: int, *callbacks: pl.Callback, **further: Any) -> pl.Trainer:
    """Lightning's Trainer on the CPU, without validation, loggers, files or words.

    Args:
        epochs: of the fit.
        callbacks: what looks on.
        further: arguments of the Trainer.
    """
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"limit_val_batches": 0, **further},
    )


def epoch_seconds(
    config: RunConfig,
    data: RatingDataModule,
    epochs: int,
    *further: pl.Callback,
    by_dataloader: bool = False,
) -> float:
    """Median seconds of a training epoch, the first one left out.

    Args:
        config: of the run.
        data: its ratings.
        epochs: at least 2.
        further: callbacks.
        by_dataloader: fed by torch's DataLoader.
    """
    clock = EpochClock()
    trainer = bare_trainer(epochs, clock, *further)
    module = build_module(config, data)
    if by_dataloader:
        size = config.batch_size
        assert size != "full"
        trainer.fit(module, train_dataloaders=plain_dataloader(data, size))
    else:
        trainer.fit(module, datamodule=data)
    return statistics.median(clock.seconds[1:])


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

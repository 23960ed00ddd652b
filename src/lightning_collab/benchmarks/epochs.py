"""Epochs inside Lightning's Trainer with nothing beside them, and how long they take."""

import statistics
import time

import pytorch_lightning as pl

from lightning_collab.benchmarks.batches import EpochClock, plain_dataloader
from lightning_collab.config import RunConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.training.build import build_module


class StepClock(pl.Callback):
    """Seconds of each step of the optimiser: of the fused engine, a whole stretch of ratings."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to the optimiser."""
        optimizer = trainer.optimizers[0]
        optimizer.register_step_pre_hook(self._begin)
        optimizer.register_step_post_hook(self._end)

    def _begin(self, *_: object) -> None:
        self._since = time.perf_counter()

    def _end(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self._since)


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
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        limit_val_batches=0,
        callbacks=[clock, *further],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = build_module(config, data)
    if by_dataloader:
        size = config.batch_size
        assert size != "full"
        trainer.fit(module, train_dataloaders=plain_dataloader(data, size))
    else:
        trainer.fit(module, datamodule=data)
    return statistics.median(clock.seconds[1:])

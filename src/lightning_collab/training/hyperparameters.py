"""The config and the final metrics on TensorBoard's HParams page."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_collab.config import RunConfig

FINAL = ("val/rmse", "val/mae", "test/rmse", "test/mae")


def log_hyperparameters(trainer: pl.Trainer, config: RunConfig, metrics: Mapping[str, Any]) -> None:
    """Log each config value beside the final metrics, and give the files to disk.

    The metrics have tags of their own (final/...), so that the page shows those of the checkpoint
    that is kept, not the last point of a curve.

    Args:
        trainer: of the run.
        config: of the run.
        metrics: of the run.
    """
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            final = {
                f"final/{key.replace('/', '_')}": metrics[key] for key in FINAL if key in metrics
            }
            logger.log_hyperparams(dict(_flat(config.model_dump(mode="json"))), final)
            logger.save()


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if value is not None else "null"

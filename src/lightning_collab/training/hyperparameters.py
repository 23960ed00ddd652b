"""The config and the final metrics on TensorBoard's HParams page."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_collab.config import RunConfig
from lightning_collab.config.section import flat

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
            values = flat(config.model_dump(mode="json"))
            shown = {key: "null" if value is None else value for key, value in values}
            logger.log_hyperparams(shown, final)
            logger.save()

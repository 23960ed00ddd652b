"""Validation and test numbers of a checkpoint."""

from pathlib import Path

import pytorch_lightning as pl

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.training.checkpoints import read_checkpoint
from lightning_collab.training.rating_module import RatingModule
from lightning_collab.training.sharding.shard_tables import is_sharded


def evaluate_checkpoint(
    trainer: pl.Trainer,
    module: RatingModule,
    data: RatingDataModule,
    checkpoint: Path,
    *,
    test: bool = True,
) -> dict[str, float]:
    """Load a checkpoint's weights and measure them on the parts that there are.

    Args:
        trainer: on whose devices it is measured; its curves are left as they are.
        module: takes the weights.
        data: split ratings.
        checkpoint: of the same model on the same vocabularies.
        test: False: the test part is not looked at.

    Returns:
        `val/rmse`, `val/mae`, `val/loss`, `test/rmse`, `test/mae`; those of an absent part are
        left out.

    Raises:
        CheckpointError: the checkpoint is of another model or of other data.
    """
    # A rank that has some rows of each table reads no more than those.
    content = read_checkpoint(checkpoint, mapped=is_sharded(module.model))
    module.load_trained(content, checkpoint)
    metrics: dict[str, float] = {}
    loggers, trainer.loggers = trainer.loggers, []
    if len(data.rows.val):
        metrics |= dict(trainer.validate(module, datamodule=data, verbose=False)[0])
    if test and len(data.rows.test):
        metrics |= dict(trainer.test(module, datamodule=data, verbose=False)[0])
    trainer.loggers = loggers
    return metrics

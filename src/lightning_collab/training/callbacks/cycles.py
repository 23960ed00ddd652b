"""The cycles of warm restarts: a checkpoint at the end of each, and a word on the last."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightning_collab.config.optimizer import WarmRestartsConfig

log = logging.getLogger(__name__)


def warn_of_unfinished_cycle(config: WarmRestartsConfig, max_epochs: int) -> None:
    """Say so when a run would end while the rate is still going down.

    Args:
        config: the `scheduler` section.
        max_epochs: epochs of the whole run.
    """
    ends = config.cycle_ends(max_epochs)
    if ends and abs(ends[-1] - max_epochs) < 1e-9:
        return
    beyond = config.cycle_ends(2 * config.cycle_mult * (max_epochs + config.cycle_len))
    fitting = [f"{end:g}" for end in beyond if end == round(end)]
    before = [end for end in fitting if float(end) < max_epochs][-1:]
    after = [end for end in fitting if float(end) > max_epochs][:1]
    log.warning(
        "trainer.max_epochs=%d ends in the middle of a cycle; %s would not",
        max_epochs,
        " or ".join(before + after) or "no whole number of epochs",
    )


class CycleCheckpoints(pl.Callback):
    """Keeps cycle-1.ckpt, cycle-2.ckpt, ... as they are when the rate is at its lowest.

    Args:
        folder: of the checkpoints.
        config: the `scheduler` section.
    """

    def __init__(self, folder: Path, config: WarmRestartsConfig) -> None:
        self.folder = folder
        self.config = config
        self._cycle_ending_at: dict[int, int] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Work out at which optimizer steps the cycles end."""
        steps = trainer.num_training_batches
        ends = self.config.cycle_ends(trainer.max_epochs or 0)
        self._cycle_ending_at = {round(end * steps): n for n, end in enumerate(ends, 1)}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Save at the last step of a cycle."""
        cycle = self._cycle_ending_at.get(trainer.global_step)
        if cycle is not None:
            pl_module.model.fill_unknown_rows()  # type: ignore[operator, union-attr]
            trainer.save_checkpoint(self.folder / f"cycle-{cycle}.ckpt")

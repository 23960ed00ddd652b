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
    """

    # A block of steps ends where a cycle does.
    takes_blocks = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cycle_ending_at: dict[int, int] = {}
        self._saved_at = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Work out at which optimizer steps the cycles end."""
        self._cycle_ending_at = {end: n for n, end in enumerate(pl_module.cycle_ends(), 1)}
        self._saved_at = pl_module.steps_done

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Save at the last step of a cycle."""
        steps = pl_module.steps_done
        cycle = self._cycle_ending_at.get(steps)
        # A batch whose gradient is only gathered takes no step.
        if cycle is not None and steps != self._saved_at:
            self._saved_at = steps
            pl_module.model.fill_unknown_rows()
            trainer.save_checkpoint(self.folder / f"cycle-{cycle}.ckpt")

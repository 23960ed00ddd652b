"""Ctrl-C between two steps: a checkpoint, then the end."""

import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from lightning_collab.compat import whole_checkpoint
from lightning_collab.runs.launch import launched
from lightning_collab.training.sharding.strategy import LocalStepsStrategy, RowShardingStrategy

log = logging.getLogger(__name__)

# Seconds within which a second signal is the first one handed on, as torchrun does.
SAME_PRESS = 2.0


class SaveOnInterrupt(pl.Callback):
    """At the first Ctrl-C (or SIGTERM) finishes the step under way, saves and stops.

    After the last step of an epoch the epoch is finished first, so that its checkpoints are whole.
    A second Ctrl-C stops at once. Ranks other than zero leave the signal to rank zero, which ends
    them after it has saved. Where the tables are split over ranks, all of them have a part in
    saving, and so they ask one another every `trainer.log_every_n_steps` steps; where they take
    steps by themselves, when they average.

    Args:
        checkpoint: where to save.
    """

    takes_blocks = True

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.saved = False
        self._stops_after_epoch = False
        self._asked_at: float | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, where this is the main thread (the only one that Python tells of signals)."""
        if threading.current_thread() is not threading.main_thread():
            return
        handler = self._ask if trainer.is_global_zero else signal.SIG_IGN
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, handler)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop if asked to; at the end of an epoch once its checkpoints are written."""
        strategy = trainer.strategy
        together = isinstance(strategy, RowShardingStrategy | LocalStepsStrategy)
        asked = self._asked_at is not None
        last = batch_idx + 1 >= trainer.num_training_batches
        if together:
            every = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
            if isinstance(strategy, LocalStepsStrategy):
                every = strategy.every
            due = last or (batch_idx + 1) % every == 0
            asked = due and trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked and last:
            trainer.should_stop = self._stops_after_epoch = True
        elif asked:
            # Without trainer.save_checkpoint, whose barrier the other ranks would never reach.
            content = whole_checkpoint(trainer)
            if trainer.is_global_zero:
                trainer.strategy.checkpoint_io.save_checkpoint(content, self.checkpoint)
            if together:
                trainer.strategy.barrier()
            self.saved = True
            raise KeyboardInterrupt

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop listening, and stop if that has been put off to the end of the epoch."""
        self._restore()
        if self._stops_after_epoch:
            self.saved = True
            raise KeyboardInterrupt

    def on_exception(self, *_: Any) -> None:
        """Stop listening."""
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is not None:
            if now - self._asked_at < SAME_PRESS and launched() is not None:
                return
            raise KeyboardInterrupt
        self._asked_at = now
        log.warning("stopping after this step (press again to stop at once)")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

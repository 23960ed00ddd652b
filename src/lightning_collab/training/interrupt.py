"""Ctrl-C between two steps: a checkpoint, then the end."""

import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl

log = logging.getLogger(__name__)


class SaveOnInterrupt(pl.Callback):
    """At the first Ctrl-C (or SIGTERM) finishes the step under way, saves and stops.

    A second Ctrl-C stops at once. Ranks other than zero leave the signal to rank zero, which ends
    them after it has saved.

    Args:
        checkpoint: where to save.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.saved = False
        self._asked = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, where this is the main thread (the only one that Python tells of signals)."""
        if threading.current_thread() is not threading.main_thread():
            return
        handler = self._ask if trainer.is_global_zero else signal.SIG_IGN
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, handler)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save and stop if asked to."""
        if self._asked:
            # Without trainer.save_checkpoint, whose barrier the other ranks would never reach.
            content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            trainer.strategy.checkpoint_io.save_checkpoint(content, self.checkpoint)
            self.saved = True
            raise KeyboardInterrupt

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop listening."""
        self._restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Stop listening."""
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        log.warning("stopping after this step (once more to stop at once)")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

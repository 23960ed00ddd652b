"""Ends before the end: Ctrl-C between two steps, and ranks that fail."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from lightning_collab.compat import stop_observing, whole_checkpoint
from lightning_collab.errors import LightningCollabError, TrainingError
from lightning_collab.runs.launch import launched
from lightning_collab.training.sharding.strategy import LocalStepsStrategy, RowShardingStrategy

# Seconds for a rank that the others have lost to say why and to end.
PATIENCE = 15.0
# One of these is in what torch says when ranks cannot talk any more.
LOST = ("gloo", "NCCL", "by peer", "c10d", "TCPStore")


class RankFailureMonitor(pl.Callback):
    """Ends the ranks of this machine at an error, and tells which of them began it.

    Lightning looks after them every five seconds, and then kills rank zero too, so that neither a
    traceback nor the advice on how to continue after Ctrl-C is sure to be read. At an error of rank
    zero it leaves the others to find out for themselves. Ranks that talk through NCCL wait for one
    that is gone until its time is up, without an error: then a thread of rank zero says what has
    happened, and ends the process.

    Attributes:
        cause: an error that names the rank which failed first; None where it was rank zero.
        advice: what to do about it, for the message of that thread.
    """

    def __init__(self) -> None:
        self.cause: TrainingError | None = None
        self.advice: Callable[[], str] = lambda: ""
        self._over = threading.Event()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Look after the ranks that Lightning has started, in place of its own thread."""
        processes: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
        if processes and stage == "fit":
            stop_observing(processes)
            self._over.clear()
            threading.Thread(target=self._watch, args=(processes,), daemon=True).start()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the ranks alone."""
        self._over.set()

    def _watch(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """Wait for a rank that fails, then for this one to learn of it, then end all."""
        cause = None
        while cause is None:
            if self._over.wait(0.5):
                return
            cause = _first_failure(processes, 0.0)
        if self._over.wait(PATIENCE):
            return
        for process in processes:
            process.kill()
        sys.stderr.write(f"error: {cause}{self.advice()}\n")
        sys.stderr.flush()
        os._exit(1)  # the thread that waits for the others cannot be woken

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Wait for what the others say, then end them."""
        self._over.set()
        processes: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
        if not processes:
            return
        stop_observing(processes)
        if isinstance(exception, KeyboardInterrupt):
            return  # Lightning ends them
        if not isinstance(exception, LightningCollabError):
            lost = any(word in str(exception) for word in LOST)
            self.cause = _first_failure(processes, PATIENCE if lost else 0.0)
        for process in processes:
            process.kill()


def _first_failure(
    processes: list[subprocess.Popen[bytes]], patience: float
) -> TrainingError | None:
    end = time.monotonic() + patience
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes, 1):
            if code:
                return TrainingError(f"rank {rank} of this machine {_how_it_ended(code)}")
        if all(code == 0 for code in codes) or time.monotonic() >= end:
            return None
        time.sleep(0.05)


def _how_it_ended(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; did the machine run out of memory?" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"
    return f"has failed (exit code {code}); its output is above"


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

"""What rank zero does about the ranks that Lightning has started for it when something fails."""

import signal
import subprocess
import time

import pytorch_lightning as pl

from lightning_collab.compat import stop_observing
from lightning_collab.errors import LightningCollabError, TrainingError

# Seconds for a rank that the others have lost to say why and to end.
PATIENCE = 15.0
# One of these is in what torch says when ranks cannot talk any more.
LOST = ("gloo", "NCCL", "by peer", "c10d", "TCPStore")


class RankFailureMonitor(pl.Callback):
    """Ends the ranks of this machine at an error, and tells which of them began it.

    Lightning looks after them every five seconds, and then kills rank zero too, so that neither a
    traceback nor the advice on how to continue after Ctrl-C is sure to be read. At an error of rank
    zero it leaves the others to find out for themselves.

    Attributes:
        cause: an error that names the rank which failed first; None where it was rank zero.
    """

    def __init__(self) -> None:
        self.cause: TrainingError | None = None

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Wait for what the others say, then end them."""
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

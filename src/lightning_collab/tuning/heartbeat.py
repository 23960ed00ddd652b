"""Who works on a trial, and whether that worker still lives."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import psutil

# The kernel's start times are relative to a boot time that moves a little with the clock.
SAME_START_SECONDS = 2.0


@dataclass(frozen=True)
class Worker:
    """A process that works on a trial.

    Attributes:
        host: its name, for people.
        machine: tells apart machines, boots and containers: process ids mean something within it.
        pid: of the process.
        started: when the process began, seconds since 1970; a later process may have its pid.
    """

    host: str
    machine: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> Self:
        """The process that asks."""
        return cls(socket.gethostname(), _machine(), os.getpid(), _started(os.getpid()) or 0.0)

    def signed(self) -> dict[str, Any]:
        """A heartbeat, now."""
        return {**asdict(self), "renewed": time.time()}

    def runs_here(self) -> bool:
        """Whether the process runs; makes sense only for one on this machine."""
        started = _started(self.pid)
        return started is not None and abs(started - self.started) < SAME_START_SECONDS


@contextmanager
def sign_of_life(renew: Callable[[dict[str, Any]], None], every: float) -> Iterator[None]:
    """Renew the heartbeat of a trial from a thread, while a `with` block runs.

    Args:
        renew: called with the new sign.
        every: seconds between two signs.
    """
    ended = threading.Event()

    def run() -> None:
        worker = Worker.this()
        while not ended.wait(every):
            # A storage that is away for a while comes back.
            with suppress(Exception):
                renew(worker.signed())

    thread = threading.Thread(target=run, name="sign-of-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # A sign may be under way.
        ended.set()
        thread.join()


class StaleTrialDetector:
    """Decides which running trials are stale.

    A trial is stale where nobody has signed it (its worker died at once), where its worker ran on
    this machine and is no longer there, or where its worker runs on another machine and has not
    renewed its sign for `stale_after` seconds on *our* clock: clocks of others are never compared.

    Args:
        stale_after: seconds.
    """

    def __init__(self, stale_after: float) -> None:
        self._stale_after = stale_after
        self._seen: dict[int, tuple[float, float]] = {}

    def is_stale(self, number: int, sign: dict[str, Any] | None) -> bool:
        """Whether a running trial has no living worker any more.

        Args:
            number: of the trial.
            sign: the last heartbeat in it, as from `Worker.signed`; None: there is none.
        """
        if not sign:
            return True
        worker = Worker(sign["host"], sign["machine"], sign["pid"], sign["started"])
        if worker.machine == _machine():
            return not worker.runs_here()
        now = time.monotonic()
        renewed, since = self._seen.get(number, (None, now))
        if renewed != sign["renewed"]:
            self._seen[number] = (sign["renewed"], now)
            return False
        return now - since > self._stale_after


@cache
def _machine() -> str:
    """A name for the set of processes among which a pid is unique."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
        if Path(path).is_file():
            parts.append(Path(path).read_text().strip())
            break
    namespace = Path("/proc/self/ns/pid")
    if namespace.is_symlink():
        parts.append(str(namespace.readlink()))
    return " ".join(parts)


def _started(pid: int) -> float | None:
    """When a process began; None: it does not run (a zombie does not)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except psutil.NoSuchProcess:
        return None

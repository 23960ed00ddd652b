"""Processes of a sweep: who works on a trial and lives, runs of their own, and all end together.

A worker that has a trial notices by itself that its sweep has gone, saves and ends. One that has
not begun its first task, or waits for its next one, runs no code of ours: a small process beside
the sweep ends those.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import psutil

from lightning_collab.runs.launch import VARIABLES

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


# Where a run in processes of its own says what it would say on the terminal.
OUTPUT_FILE = "output.log"


def run_subprocess(
    command: Sequence[str], further: Mapping[str, str], output: Path | None
) -> tuple[int, bool]:
    """Run a command, with all that it starts, to the end of all.

    Args:
        command: to run.
        further: environment variables beside ours; those of our own rank are left out.
        output: file for what it says; None: our terminal.

    Returns:
        Its exit code, and whether it was stopped by Ctrl-C.
    """
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    stopped = False
    with open(output or os.devnull, "wb") as file:  # noqa: PTH123 - os.devnull is no Path
        streams = {"stdout": file, "stderr": subprocess.STDOUT} if output else {}
        process = subprocess.Popen(
            command,
            env={**environment, **further},
            start_new_session=True,
            **streams,  # type: ignore[call-overload]
        )
        try:
            while True:
                try:
                    process.wait()
                    break
                except KeyboardInterrupt:
                    # Its first rank saves and ends; the others follow.
                    stopped = True
                    process.send_signal(signal.SIGINT)
        finally:
            # A rank that waits for one that is gone would wait for long.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, stopped


def error_tail(output: Path, returncode: int) -> str:
    """Why a command failed, from what it said.

    Args:
        output: file with what it said.
        returncode: its exit code.
    """
    said = [line.strip() for line in output.read_text(errors="replace").splitlines()]
    said = [line for line in said if line]
    for line in said:
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    return said[-1] if said else f"exit code {returncode}"


# In the environment of all that a sweep starts.
MARK = "LIGHTNING_COLLAB_SWEEP"
# For workers that save what they have.
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.2


@contextmanager
def workers_end_with_us() -> Iterator[None]:
    """Whatever is started in the block ends when this process is killed."""
    mark = uuid.uuid4().hex
    watcher = subprocess.Popen(
        [sys.executable, "-m", __name__, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    before = os.environ.get(MARK)
    os.environ[MARK] = mark
    try:
        yield
    finally:
        os.environ.pop(MARK)
        if before is not None:
            os.environ[MARK] = before
        assert watcher.stdin is not None
        with suppress(OSError):
            watcher.stdin.write(b"done")
            watcher.stdin.close()
        watcher.wait()


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def _watch(mark: str) -> None:
    """End all that has the mark, once standard input ends without a word."""
    if sys.stdin.buffer.read():
        return
    deadline = time.monotonic() + GRACE_SECONDS
    # What was just being started has its own environment in a moment.
    time.sleep(POLL_SECONDS)
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    while left:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(POLL_SECONDS)
        left = _marked(mark)


if __name__ == "__main__":
    _watch(sys.argv[1])

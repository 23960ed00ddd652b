"""One process at a time writes into a run directory."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from lightning_collab.errors import CheckpointError, StorageError

LOCK_FILE = ".lock"
# Names that `atomic_file` gives to a file while it is being written.
UNFINISHED = re.compile(r"\..+-[0-9a-f]{32}")


@contextmanager
def run_held(directory: Path) -> Iterator[None]:
    """Keep every other process from writing into a run directory.

    The system gives the lock back when its process ends, however it ends: a run that was killed
    leaves nothing that has to be removed by hand. Of a run with several ranks, the first holds it.
    Within one thread it may be taken again.

    What a killed run had half written is removed, since nobody else can be writing it.

    Args:
        directory: of the run; it is made.

    Raises:
        CheckpointError: another process is writing there; the message names it.
        StorageError: the directory cannot be written.
    """
    lock = FileLock(directory / LOCK_FILE, blocking=False, is_singleton=True)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise CheckpointError(
            f"{directory}: another run is writing there ({_holder(directory)}); wait for it to "
            "end, stop it, or set hydra.run.dir (in Python: run_dir) to another folder"
        ) from None
    except OSError as error:
        raise StorageError.of(error, directory) from error
    outermost = lock.lock_counter == 1
    try:
        if outermost:
            _take_over(directory, lock)
        yield
    finally:
        if outermost:
            # While it is held: whoever has opened it meanwhile sees that it is gone.
            (directory / LOCK_FILE).unlink(missing_ok=True)
        lock.release()


def _take_over(directory: Path, lock: FileLock | SoftFileLock) -> None:
    if not isinstance(lock, SoftFileLock):
        # In the form in which a SoftFileLock, used where the file system has no locks, keeps it.
        try:
            (directory / LOCK_FILE).write_text(f"{os.getpid()}\n{socket.gethostname()}\n")
        except OSError as error:
            raise StorageError.of(error, directory / LOCK_FILE) from error
    for path in (*directory.glob(".*-*"), *directory.glob("*/.*-*")):
        if path.is_file() and UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _holder(directory: Path) -> str:
    """Who holds a lock, as far as it says so."""
    try:
        pid, host = (directory / LOCK_FILE).read_text().split()[:2]
    except (OSError, ValueError):
        return "its process is not known"
    return f"process {pid}" if host == socket.gethostname() else f"process {pid} on {host}"

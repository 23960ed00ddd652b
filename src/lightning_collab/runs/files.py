"""Files of a run: whole or not at all, of one process at a time, with sums that tell altered ones.

Checkpoints have sums of their own, which torch writes into them.
"""

import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from filelock import FileLock, SoftFileLock, Timeout

from lightning_collab.errors import CheckpointError, StorageError


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which takes its place only when all of it is on disk.

    A reader, and a run that is resumed after a power cut, finds the old content or the new one,
    never a part.

    Args:
        path: of the file; its folder must exist.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    # Not `tempfile`: its files may be read by their owner only, and people share their runs.
    temporary = path.with_name(f".{path.name}-{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StorageError.of(error, path) from error
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file by new content, as `atomic_file` does.

    Args:
        path: of the file; its folder must exist.
        content: text is written as UTF-8.

    Raises:
        StorageError: as `atomic_file`.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


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


SUMS_FILE = "sums.json"


@contextmanager
def summed_file(path: Path) -> Iterator[IO[bytes]]:
    """A file as of `atomic_file`, whose sum is kept beside it.

    The sum of the file that it replaces is kept too, so that a process that is killed between the
    two leaves what can be read.

    Args:
        path: of the file; its folder must exist.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    with atomic_file(path) as file:
        yield file
        file.flush()
        sums = _sums(path.parent) or {}
        before = [sum_of(path)] if path.is_file() else []
        sums[path.name] = [*before, sum_of(Path(file.name))]
        write_atomically(path.parent / SUMS_FILE, json.dumps(sums, indent=2))


def check_sum(path: Path) -> None:
    """Refuse a file that is not as it was written.

    Args:
        path: of the file; one that is not there, or that was written by a version without sums, is
            not looked at.

    Raises:
        CheckpointError: it was altered.
    """
    sums = _sums(path.parent)
    if sums is None:
        raise CheckpointError(
            f"{path.parent / SUMS_FILE}: not the sums of a run's files; get it again, or remove it "
            "to read them unchecked"
        )
    if path.is_file() and path.name in sums and sum_of(path) not in sums[path.name]:
        raise CheckpointError(
            f"{path}: altered, or only partly copied, since it was written. Get the file again"
        )


def sum_of(path: Path, algorithm: str = "sha256") -> str:
    """A sum of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _sums(folder: Path) -> dict[str, list[str]] | None:
    """What is kept; None where it is something else."""
    path = folder / SUMS_FILE
    if not path.is_file():
        return {}
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_bytes())
        if isinstance(found, dict) and all(isinstance(each, list) for each in found.values()):
            return found
    return None

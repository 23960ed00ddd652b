"""Sums of the files beside a run's checkpoints, by which an altered one is told from a whole one.

Checkpoints have sums of their own, which torch writes into them.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lightning_collab.errors import CheckpointError
from lightning_collab.runs.atomic_write import atomic_file, write_atomically

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
        before = [_sum(path)] if path.is_file() else []
        sums[path.name] = [*before, _sum(Path(file.name))]
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
    if path.is_file() and path.name in sums and _sum(path) not in sums[path.name]:
        raise CheckpointError(
            f"{path}: altered, or only partly copied, since it was written. Get the file again"
        )


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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

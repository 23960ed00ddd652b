"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from lightning_collab.errors import StorageError


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

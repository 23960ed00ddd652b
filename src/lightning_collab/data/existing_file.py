"""The check that comes before any file of a user is read."""

from pathlib import Path

from lightning_collab.errors import DataError


def check_file(path: Path) -> None:
    """Refuse a path at which there is no file to read.

    Args:
        path: what a user named.

    Raises:
        DataError: nothing is there, or a folder is.
    """
    if path.is_dir():
        raise DataError(f"{path}: this is a folder; name the file in it")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")

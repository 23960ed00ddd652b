"""Which files a path stands for, and of what kind each is; others are refused by their name."""

import re
import zipfile
from pathlib import Path
from typing import Literal

from lightning_collab.errors import DataError

Kind = Literal["csv", "jsonl", "parquet"]
HEAD = 4096
PARQUET_MAGIC = b"PAR1"
# First bytes -> what such a file is, and what to do.
FOREIGN = (
    (rb"PK\x03\x04", "a zip archive", "unpack it and name the file in it"),
    (
        rb"BZh[1-9]1AY&SY",
        "compressed with bzip2",
        "unpack it with bunzip2, or compress it with gzip",
    ),
    (rb"\xfd7zXZ\x00", "compressed with xz", "unpack it with unxz, or compress it with gzip"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and name the file in it"),
    (rb"Rar!\x1a", "a rar archive", "unpack it and name the file in it"),
    (rb".{257}ustar", "a tar archive", "unpack it and name the file in it"),
    (rb"\xd0\xcf\x11\xe0", "an Excel workbook", "save the sheet as CSV"),
    (rb"\x89HDF", "an HDF5 file", "write the table as Parquet or CSV"),
    (rb"SQLite format 3", "an SQLite database", "write the table as Parquet or CSV"),
    (rb"ARROW1", "an Arrow (feather) file", "write the table as Parquet"),
    (rb"Obj\x01", "an Avro file", "write the table as Parquet or CSV"),
    (rb"\x93NUMPY", "a NumPy array", "write a table as Parquet or CSV"),
    (rb"\x80[\x02-\x05]", "a pickle", "write the table as Parquet or CSV; pickles are never read"),
    (rb"%PDF-", "a PDF", "write the table as Parquet or CSV"),
    (rb"\s*<(!doctype|html)", "a web page", "the download gave a page in place of the file"),
    (rb"\s*\[\s*[\[{]", "one JSON array", "write one object per line (JSON lines)"),
)
# Text has none of the first, and few of the others.
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
MOST_CONTROL = 0.1
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


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
        raise DataError(f"{path}: no such file")


def part_files(path: Path) -> list[Path]:
    """The files that together are one table: a file itself, or the parts that Spark writes.

    Args:
        path: of a file, of a folder of parts, or a pattern such as `part-*.csv`; what begins with
            `.` or `_` in a folder is no part.

    Returns:
        The parts by their names; the path itself where nothing is there.

    Raises:
        DataError: a folder has no parts, or files of several kinds.
    """
    if path.is_dir():
        parts = sorted(each for each in path.iterdir() if each.name[0] not in "._")
        if not parts:
            raise DataError(f"{path}: this folder has no files; name a file")
        folder = next((each for each in parts if each.is_dir()), None)
        if folder is not None:
            raise DataError(
                f"{path}: it contains folders, such as {folder.name}; name one of them, or "
                "the files by a pattern"
            )
        endings = {each.suffix.lower(): each.name for each in parts}
        if len(endings) > 1:
            raise DataError(
                f"{path}: this folder has files of several kinds ({', '.join(endings.values())}); "
                f"name the parts by a pattern, such as '{path}/*{next(iter(endings))}'"
            )
        return parts
    if not path.exists() and any(sign in path.name for sign in "*?["):
        found = sorted(each for each in path.parent.glob(path.name) if each.is_file())
        if not found:
            raise DataError(f"{path}: no file matches this pattern")
        return found
    return [path]


def check_readable(path: Path, head: bytes) -> None:
    """Refuse by its name what is no text and no Parquet, so that no bytes reach the screen.

    Args:
        path: as messages name it.
        head: its first bytes, unpacked.

    Raises:
        DataError: it is a known kind of file that is not read, or no text.
    """
    for magic, what, cure in FOREIGN:
        if re.match(magic, head, re.IGNORECASE | re.DOTALL):
            if what == "a zip archive" and _is_workbook(path):
                what, cure = "an Excel workbook", "save the sheet as CSV"
            raise DataError(f"{path}: this is {what}, which cannot be read; {cure}")
    if head.startswith(UTF16_MARKS):
        return
    if b"\0" in head or len(CONTROL.findall(head)) > MOST_CONTROL * len(head):
        raise DataError(
            f"{path}: this is not text; delimited text, JSON lines and Parquet can be read"
        )


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.startswith("xl/") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def is_parquet(path: Path, said: Kind | None = None) -> bool:
    """Whether a file is Parquet: as is said, else by its first bytes or its name.

    Args:
        path: of the file, which need not be there.
        said: of what kind it is said to be; None: nothing is said.
    """
    if said is not None:
        return said == "parquet"
    if path.suffix.lower() in (".parquet", ".pq"):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == PARQUET_MAGIC


def is_json_lines(head: bytes, said: Kind | None = None) -> bool:
    """Whether text is an object of JSON a line: as is said, else by its first character.

    Args:
        head: first bytes of the text.
        said: as in `is_parquet`.
    """
    if said is not None:
        return said == "jsonl"
    return re.match(rb"(\xef\xbb\xbf)?\s*\{\s*[\"}]", head) is not None

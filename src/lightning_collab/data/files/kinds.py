"""Which files a path stands for, of what kind each is, and text unpacked and in UTF-8.

Other kinds are refused by their name.
"""

import codecs
import gzip
import logging
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

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


log = logging.getLogger(__name__)

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# A packed file may unpack to so many times its size, or to so many bytes if that is more. Tables
# become 3 to 30 times as large; what exceeds this was made to fill a disk.
MOST_TIMES = 100
ALWAYS_ALLOWED = 256 << 20
CHUNK = 1 << 20

Encoding = Literal["auto", "utf8", "utf16", "cp1252", "latin-1"]


class PlainText(NamedTuple):
    """A text file that can be read as it is.

    Attributes:
        name: of the file that was named, for messages.
        path: of its text in UTF-8; the same file, or a temporary one.
        encoding: in which the named file is written, as Python calls it.
    """

    name: Path
    path: Path
    encoding: str


@contextmanager
def plain_text(path: Path, encoding: Encoding = "auto") -> Iterator[PlainText]:
    """The text of a file, unpacked from gzip or zstd and turned into UTF-8 where it is not.

    Args:
        path: of the file.
        encoding: of the text; auto: UTF-16 by its first bytes, else UTF-8, else cp1252, else
            latin-1.

    Yields:
        The text, as long as the block lasts.

    Raises:
        DataError: the file is missing, empty, damaged, unpacks to far more than its size, is no
            text or not in the encoding; the message names the line.
    """
    check_file(path)
    with tempfile.TemporaryDirectory(prefix="lightning-collab-") as folder:
        try:
            plain = _unpacked(path, Path(folder))
            head = _head(plain)
            if not head:
                raise DataError(f"{path}: the file is empty")
            check_readable(path, b"" if encoding == "utf16" else head)
            known = _encoding(path, plain, head, encoding)
            if known not in ("utf8", "utf-8-sig"):
                plain = _in_utf8(path, plain, known, Path(folder) / "utf8")
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        yield PlainText(path, plain, known)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _unpacked(path: Path, folder: Path) -> Path:
    head = _head(path)
    if not head.startswith((GZIP_MAGIC, ZSTD_MAGIC)):
        return path
    most = max(MOST_TIMES * path.stat().st_size, ALWAYS_ALLOWED)
    unpacked, size = folder / "unpacked", 0
    try:
        with path.open("rb") as file, unpacked.open("wb") as written:
            packed_by_gzip = head.startswith(GZIP_MAGIC)
            stream = gzip.GzipFile(fileobj=file) if packed_by_gzip else _zstd(path, file)
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                if size > most:
                    raise DataError(
                        f"{path}: unpacks to more than {most >> 20:,} MiB, over {MOST_TIMES} times "
                        "its size, and is not read; if you trust it, unpack it yourself and name "
                        "the unpacked file"
                    )
                written.write(chunk)
    except EOFError:
        raise DataError(f"{path}: the compressed file is cut short; get it again") from None
    except (gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise DataError(f"{path}: the compressed file is damaged ({error}); get it again") from None
    return unpacked


def _zstd(path: Path, file: BinaryIO) -> Any:
    try:
        import zstandard
    except ImportError:
        raise DataError(
            f"{path}: compressed with zstd; pip install 'lightning-collab[zstd]', or unpack it "
            "with unzstd"
        ) from None
    return _WholeZstd(zstandard, file)


class _WholeZstd:
    """A stream of zstd whose end is missed where the file is cut short."""

    def __init__(self, zstandard: Any, file: BinaryIO) -> None:
        self._file = file
        self._error = zstandard.ZstdError
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._began = False

    def read(self, size: int) -> bytes:
        """Some unpacked bytes; none at the end."""
        while True:
            packed = self._frame.unused_data if self._frame.eof else b""
            packed = packed or self._file.read(size >> 6)
            if not packed:
                if self._began and not self._frame.eof:
                    raise EOFError
                return b""
            if self._frame.eof:
                self._frame = self._new()
            self._began = True
            try:
                if plain := self._frame.decompress(packed):
                    return bytes(plain)
            except self._error as error:
                raise ValueError(str(error)) from error


def _encoding(name: Path, path: Path, head: bytes, asked: Encoding) -> str:
    """What the text is written in, once through the file."""
    if asked != "auto":
        bad = _first_bad_line(path, asked)
        if bad is not None:
            raise DataError(f"{name}, line {bad}: the text is not {asked}; it may be latin-1")
        return asked
    if head.startswith(UTF16_MARKS):
        return "utf16"
    bad = _first_bad_line(path, "utf8")
    if bad is None:
        return "utf8"
    found = "cp1252" if _first_bad_line(path, "cp1252") is None else "latin-1"
    log.info("%s: line %d is not utf8; taken as %s (data.encoding says another)", name, bad, found)
    return found


def _first_bad_line(path: Path, encoding: str) -> int | None:
    """The first line with bytes that are no text in an encoding; None: all are."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # The bytes of the error may begin with those kept from the chunk before.
                kept = len(error.object) - len(chunk)
                return lines + chunk[: max(0, error.start - kept)].count(b"\n") + 1
            if not chunk:
                return None
            lines += chunk.count(b"\n")


def _in_utf8(name: Path, path: Path, encoding: str, written: Path) -> Path:
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file, written.open("wb") as target:
        while True:
            chunk = file.read(CHUNK)
            try:
                target.write(decoder.decode(chunk, final=not chunk).encode())
            except UnicodeError as error:
                reason = f"the text is not {encoding}"
                raise DataError(f"{name}: {reason} ({error.__class__.__name__})") from None
            if not chunk:
                return written

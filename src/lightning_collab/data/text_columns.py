"""Reading delimited text strictly: a value that does not parse is named with file and line."""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lightning_collab.data.column_rules import Place, Rule, all_hold, check_columns, number_rules
from lightning_collab.errors import DataError

# What polars raises on bytes that are not the text it was told of; a panic is no Exception.
READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeDecodeError, OSError)
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class TextFormat:
    """How values stand in a text file.

    Attributes:
        separator: one character between two values.
        has_header: whether the first line names the columns.
        encoding: of the file, as Python calls it.
        quote_char: what stands around a value that has the separator in it; None: nothing does.
    """

    separator: str
    has_header: bool
    encoding: str = "utf8"
    quote_char: str | None = None


def column_names(path: Path, text: TextFormat) -> list[str]:
    """The names in the first line; `column_1` and so on where it has none.

    Args:
        path: of the file.
        text: its format.

    Raises:
        DataError: the file is missing, empty or not such text.
    """
    check_file(path)
    try:
        return _read(path, text, n_rows=1, infer_schema=False).columns
    except pl.exceptions.NoDataError:
        raise DataError(f"{path}: the file is empty") from None
    except READ_ERRORS as error:
        raise _unreadable(path, text, None, error) from error


def read_text_columns(
    path: Path,
    schema: Mapping[str, pl.DataType],
    text: TextFormat,
    *,
    positions: Sequence[int] | None = None,
    rules: Sequence[Rule] = (),
) -> pl.DataFrame:
    """Some columns of a delimited text file, typed.

    Args:
        path: of the file.
        schema: our names and types of the columns. Numbers must be there and finite in each line;
            text may be missing where no rule is against it. Blank lines are left out.
        text: the format of the file.
        positions: where the columns stand in the file, counted from 0; None: the first ones.
        rules: what must hold of the values.

    Raises:
        DataError: the file is missing, empty, cut short, of another format, or has a value that
            does not parse or breaks a rule; the message names file and line.
    """
    names = column_names(path, text)
    positions = list(range(len(schema))) if positions is None else list(positions)
    if max(positions) >= len(names):
        raise DataError(
            f"{path}: cannot be read as {max(positions) + 1} columns: with the separator "
            f"{text.separator!r} it has {len(names)}"
        )
    chosen = {names[position]: ours for position, ours in zip(positions, schema, strict=True)}
    types = {names[p]: kind for p, kind in zip(positions, schema.values(), strict=True)}
    try:
        typed = _read(path, text, columns=list(chosen), schema_overrides=types, infer_schema=False)
    except READ_ERRORS:
        typed = None
    if typed is not None and len(typed):
        typed = typed.select(pl.col(name).alias(ours) for name, ours in chosen.items())
        if all_hold(typed, [*number_rules(schema), *rules]):
            return typed
    return _explained(path, schema, text, chosen, rules)


def _explained(
    path: Path,
    schema: Mapping[str, pl.DataType],
    text: TextFormat,
    chosen: Mapping[str, str],
    rules: Sequence[Rule],
) -> pl.DataFrame:
    """The slow way, by which it can be said what is wrong and where."""
    try:
        raw = _read(path, text, columns=list(chosen), infer_schema=False)
    except READ_ERRORS as error:
        raise _unreadable(path, text, len(chosen), error) from error
    raw = raw.select(pl.col(name).alias(ours) for name, ours in chosen.items())
    if raw.is_empty():
        raise DataError(f"{path}: no rows" + (" below the header" if text.has_header else ""))
    blank = raw.select(pl.all_horizontal(pl.all().is_null())).to_series()
    lines = np.flatnonzero(~blank.to_numpy()) + (2 if text.has_header else 1)
    raw = raw.filter(~blank)
    if raw.is_empty():
        raise DataError(f"{path}: no rows, only blank lines")
    typed = raw.with_columns(
        pl.col(name).str.strip_chars().cast(kind, strict=False)
        if kind != pl.String
        else pl.col(name)
        for name, kind in schema.items()
    )
    check_columns(typed, raw, [*number_rules(schema), *rules], Place.lines(path, lines))
    return typed


def _read(path: Path, text: TextFormat, **options: Any) -> pl.DataFrame:
    return pl.read_csv(
        path,
        separator=text.separator,
        has_header=text.has_header,
        encoding=text.encoding,
        quote_char=text.quote_char,
        **options,
    )


def _unreadable(
    path: Path, text: TextFormat, columns: int | None, error: BaseException
) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, OSError) and "end of file" in reason:
        return DataError(f"{path}: the compressed file is cut short; get it again")
    if "utf-8" in reason or isinstance(error, UnicodeDecodeError):
        line = next((n for n, raw in _lines(path) if not _decodes(raw, text.encoding)), 1)
        return DataError(f"{path}, line {line}: the text is not {text.encoding}; it may be latin-1")
    if "more fields" in reason:
        split = text.separator.encode()
        lines = list(_lines(path))
        width = lines[0][1].count(split)
        line, found = next(
            ((n, raw.count(split)) for n, raw in lines if raw.count(split) > width), (1, width)
        )
        return DataError(
            f"{path}, line {line}: {found + 1} values where the first line has {width + 1}"
        )
    what = "as text" if columns is None else f"as {columns} columns"
    return DataError(f"{path}: cannot be read {what}: {reason}")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The numbered lines of a file, only ever asked for when something is wrong with it."""
    with path.open("rb") as plain:
        packed = plain.read(2) == GZIP_MAGIC
        plain.seek(0)
        with gzip.open(plain) if packed else plain as file:
            yield from enumerate(file, 1)


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


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

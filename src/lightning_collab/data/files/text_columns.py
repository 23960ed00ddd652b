"""Reading delimited text strictly: a value that does not parse is named with file and line."""

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.data.column_rules import Place, Rule, all_hold, check_columns, number_rules
from lightning_collab.data.files.kinds import CHUNK, GZIP_MAGIC, check_file
from lightning_collab.data.files.text_format import OpenText, TextFormat, csv_reader
from lightning_collab.errors import DataError

# What polars raises on bytes that are not the text it was told of; a panic is no Exception.
READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeDecodeError, OSError)


def column_names(path: Path, text: TextFormat, named: Path | None = None) -> list[str]:
    """The names in the first line; `column_1` and so on where it has none.

    Args:
        path: of the file.
        text: its format.
        named: the file as messages name it, where `path` is a copy of it.

    Raises:
        DataError: the file is missing, empty or not such text.
    """
    check_file(path)
    named = named or path
    try:
        return _read(path, text, n_rows=1, infer_schema=False).columns
    except pl.exceptions.NoDataError:
        raise DataError(f"{named}: the file is empty") from None
    except READ_ERRORS as error:
        raise _unreadable(path, text, None, error, named) from error


def read_opened(
    opened: OpenText,
    schema: Mapping[str, pl.DataType],
    positions: Sequence[int],
    rules: Sequence[Rule] = (),
) -> pl.DataFrame:
    """Some columns of a text file that has been looked at, typed.

    Args:
        opened: the file.
        schema: as of `read_text_columns`; so are the others, and what is raised.
        positions: where the columns stand in the file, counted from 0.
        rules: what must hold of the values.
    """
    return read_text_columns(
        opened.path,
        schema,
        opened.format,
        positions=positions,
        rules=rules,
        named=opened.name,
        continued=opened.continued,
    )


def read_text_columns(
    path: Path,
    schema: Mapping[str, pl.DataType],
    text: TextFormat,
    *,
    positions: Sequence[int] | None = None,
    rules: Sequence[Rule] = (),
    named: Path | None = None,
    continued: Sequence[int] = (),
) -> pl.DataFrame:
    """Some columns of a delimited text file, typed.

    Args:
        path: of the file.
        schema: our names and types of the columns. Numbers must be there and finite in each line;
            text may be missing where no rule is against it. Blank lines are left out.
        text: the format of the file.
        positions: where the columns stand in the file, counted from 0; None: the first ones.
        rules: what must hold of the values.
        named: the file as messages name it, where `path` is a copy of it.
        continued: numbers of lines that continue the record of the line before.

    Raises:
        DataError: the file is missing, empty, cut short, of another format, or has a value that
            does not parse or breaks a rule; the message names file and line.
    """
    named = named or path
    names = column_names(path, text, named)
    positions = list(range(len(schema))) if positions is None else list(positions)
    if max(positions) >= len(names):
        raise DataError(
            f"{named}: cannot be read as {max(positions) + 1} columns: with the separator "
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
    # The slow way, by which it can be said what is wrong and where.
    try:
        raw = _read(path, text, columns=list(chosen), infer_schema=False)
    except READ_ERRORS as error:
        raise _unreadable(path, text, len(chosen), error, named) from error
    raw = raw.select(pl.col(name).alias(ours) for name, ours in chosen.items())
    if raw.is_empty():
        raise DataError(f"{named}: no rows" + (" below the header" if text.has_header else ""))
    blank = raw.select(pl.all_horizontal(pl.all().is_null())).to_series()
    rows = np.flatnonzero(~blank.to_numpy())
    raw = raw.filter(~blank)
    if raw.is_empty():
        raise DataError(f"{named}: no rows, only blank lines")
    typed = raw.with_columns(
        _number(name, kind, text) if kind != pl.String else pl.col(name)
        for name, kind in schema.items()
    )
    lines = _first_lines(path, text, continued)[rows]
    check_columns(typed, raw, [*number_rules(schema), *rules], Place.lines(named, lines))
    return typed


def has_leading_zeros(path: Path, separator: str) -> bool:
    """Whether any value of a text file begins with a zero or a plus and goes on with a digit.

    Args:
        path: of text in UTF-8.
        separator: between two values.
    """
    before = np.frombuffer(f"{separator}\n\" '".encode(), np.uint8)
    last = b"\n"
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            # A value may begin at the end of the chunk before.
            content = np.frombuffer(last + chunk, np.uint8)
            place = np.flatnonzero((content[1:-1] == ord("0")) | (content[1:-1] == ord("+"))) + 1
            place = place[np.isin(content[place - 1], before)]
            following = content[place + 1]
            if ((following >= ord("0")) & (following <= ord("9"))).any():
                return True
            last = (last + chunk)[-2:]
    return False


def _number(name: str, kind: pl.DataType, text: TextFormat) -> pl.Expr:
    column = pl.col(name).str.strip_chars()
    if text.decimal_comma:
        column = column.str.replace(",", ".", literal=True)
    return column.cast(kind, strict=False)


def _first_lines(
    path: Path, text: TextFormat, continued: Sequence[int]
) -> NDArray[np.integer[Any]]:
    """The number of the line where each row begins, blank lines being rows too."""
    blank, count = 0, 0
    for count, line in _lines(path):
        if blank == count - 1 and not line.strip(b"\r\n"):
            blank += 1
    numbers = np.arange(blank + 1, count + 1)
    numbers = np.setdiff1d(numbers, np.asarray(continued, dtype=numbers.dtype))
    return numbers[int(text.has_header) :]


def _read(path: Path, text: TextFormat, **options: Any) -> pl.DataFrame:
    return pl.read_csv(
        path,
        separator=text.separator,
        has_header=text.has_header,
        encoding=text.encoding,
        quote_char=text.quote_char,
        decimal_comma=text.decimal_comma,
        glob=False,
        **options,
    )


def _unreadable(
    path: Path, text: TextFormat, columns: int | None, error: BaseException, named: Path
) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, OSError) and "end of file" in reason:
        return DataError(f"{named}: the compressed file is cut short; get it again")
    if "utf-8" in reason or isinstance(error, UnicodeDecodeError):
        line = next((n for n, raw in _lines(path) if not _decodes(raw, text.encoding)), 1)
        return DataError(
            f"{named}, line {line}: the text is not {text.encoding}; it may be latin-1"
        )
    if "more fields" in reason and (found := _widest(path, text)):
        line, values, width = found
        return DataError(f"{named}, line {line}: {values} values where the first line has {width}")
    what = "as text" if columns is None else f"as {columns} columns"
    return DataError(f"{named}: cannot be read {what}: {reason}")


def _widest(path: Path, text: TextFormat) -> tuple[int, int, int] | None:
    """The first line with more values than the first one, how many it has, and how many that."""
    lines = (raw.decode(text.encoding, errors="replace") for _, raw in _lines(path))
    reader = csv_reader(lines, text.separator, text.quote_char)
    width, line = None, 1
    try:
        for record in reader:
            if record:
                width = len(record) if width is None else width
                if len(record) > width:
                    return line, len(record), width
            line = reader.line_num + 1
    except csv.Error:
        return None
    return None


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

"""Reading JSON lines and Parquet as strictly as text, and whole tables of any kind.

A value that makes no sense is named with file and line or row.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl

from lightning_collab.data.column_rules import Place, Rule, Unit, typed_columns
from lightning_collab.data.files.kinds import (
    HEAD,
    PlainText,
    check_file,
    is_json_lines,
    is_parquet,
    plain_text,
)
from lightning_collab.data.files.text_columns import READ_ERRORS
from lightning_collab.data.files.text_format import OpenText, TextSettings, found_format
from lightning_collab.errors import DataError


def read_json_lines(text: PlainText) -> pl.DataFrame:
    """All plain values of a file: those of lists and objects are left out.

    Args:
        text: the file.

    Raises:
        DataError: a line is no object; the message names it.
    """
    try:
        frame = pl.read_ndjson(text.path, infer_schema_length=None)
    except READ_ERRORS as error:
        raise _unreadable(text, error) from error
    return frame.select(name for name, kind in frame.schema.items() if not kind.is_nested())


def json_columns(
    frame: pl.DataFrame,
    text: PlainText,
    chosen: Mapping[str, str],
    types: Mapping[str, pl.DataType],
    rules: Sequence[Rule],
    *,
    unit: Unit,
    time_format: str | None,
) -> pl.DataFrame:
    """Some columns of such a file, typed.

    Args:
        frame: of `read_json_lines`.
        text: the file.
        chosen: our name of each column -> theirs.
        types: by our names; numbers must be there in each row.
        rules: what must hold of the values.
        unit: of times that are numbers.
        time_format: of times that are text; None: ISO 8601.

    Raises:
        DataError: a value or a column does not fit; the message names file and line.
    """
    raw = frame.select(pl.col(theirs).alias(ours) for ours, theirs in chosen.items())
    place = Place.lines(text.name, _lines_with_rows(text.path))
    return typed_columns(raw, types, rules, place, unit=unit, time_format=time_format)


def _lines_with_rows(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.array([number for number, line in enumerate(file, 1) if line.strip()])


def _unreadable(text: PlainText, error: BaseException) -> DataError:
    with text.path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line) if line.strip() else {}
            except (ValueError, RecursionError):
                return DataError(
                    f"{text.name}, line {number}: not JSON; each line must be an object"
                )
            if not isinstance(row, dict):
                return DataError(
                    f"{text.name}, line {number}: not an object; each line must be one"
                )
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{text.name}: cannot be read as JSON lines: {reason}")


def parquet_names(path: Path) -> list[str]:
    """The names of a file's columns.

    Args:
        path: of the file.

    Raises:
        DataError: the file is missing or not Parquet.
    """
    check_file(path)
    try:
        return pl.scan_parquet(path, glob=False).collect_schema().names()
    except READ_ERRORS as error:
        raise _unreadable_parquet(path, error) from error


def read_parquet_columns(
    path: Path,
    chosen: Mapping[str, str],
    types: Mapping[str, pl.DataType],
    rules: Sequence[Rule] = (),
    *,
    unit: Unit = "s",
    time_format: str | None = None,
    rows: tuple[int, int] | None = None,
) -> pl.DataFrame:
    """Some columns of a file, typed.

    Args:
        path: of the file.
        chosen: our name of each column -> theirs.
        types: by our names; numbers must be there in each row.
        rules: what must hold of the values.
        unit: of times, which dates become.
        time_format: of times that are text; None: ISO 8601.
        rows: the first that is read, counted from 0, and how many; None: all.

    Raises:
        DataError: the file is not whole, has no rows, or a value or a column does not fit.
    """
    try:
        columns = [pl.col(theirs).alias(ours) for ours, theirs in chosen.items()]
        whole = pl.scan_parquet(path, glob=False).select(columns)
        raw = (whole if rows is None else whole.slice(*rows)).collect()
    except READ_ERRORS as error:
        raise _unreadable_parquet(path, error) from error
    return typed_columns(raw, types, rules, Place.rows(path), unit=unit, time_format=time_format)


def _unreadable_parquet(path: Path, error: BaseException) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{path}: not a complete Parquet file: {reason}")


# Some of the names of columns.
ColumnsOf = Callable[[Sequence[str]], Collection[str]]


def read_table(
    path: Path, settings: TextSettings | None = None, *, as_text: ColumnsOf | None = None
) -> pl.DataFrame:
    """All columns of a file of text, JSON lines or Parquet, of the types that their values show.

    Args:
        path: of the file; text has a first line of names unless it is said that it has none.
        settings: how the text stands; None: that is found.
        as_text: of the names of a text file those of columns that are kept as they are written,
            since 007 would lose its zeros; None: none.

    Raises:
        DataError: the file is missing, empty, of a kind that is not read, or does not parse.
    """
    check_file(path)
    settings = settings or TextSettings(header=True)
    try:
        if is_parquet(path):
            return pl.read_parquet(path, glob=False)
        with ExitStack() as stack:
            text = stack.enter_context(plain_text(path, settings.encoding))
            with text.path.open("rb") as file:
                head = file.read(HEAD)
            if is_json_lines(head):
                return read_json_lines(text)
            return _read(found_format(text, settings), as_text)
    except pl.exceptions.NoDataError:
        raise DataError(f"{path}: the file is empty") from None
    except READ_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read: {reason}") from error


def _read(opened: OpenText, as_text: ColumnsOf | None) -> pl.DataFrame:
    text = opened.format
    kept = () if as_text is None else as_text(opened.first)
    return pl.read_csv(
        opened.path,
        separator=text.separator,
        has_header=text.has_header,
        quote_char=text.quote_char,
        decimal_comma=text.decimal_comma,
        schema_overrides=dict.fromkeys(kept, pl.String()),
        infer_schema_length=None,
        try_parse_dates=False,
        glob=False,
    )

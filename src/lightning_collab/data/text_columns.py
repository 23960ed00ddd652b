"""Reading delimited text strictly: a value that does not parse is named with file and line."""

import logging
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from lightning_collab.errors import DataError

log = logging.getLogger(__name__)


def read_text_columns(
    path: Path,
    schema: Mapping[str, pl.DataType],
    *,
    separator: str,
    has_header: bool,
    encoding: str = "utf8",
    quote_char: str | None = None,
) -> pl.DataFrame:
    """The first columns of a delimited text file, typed.

    Args:
        path: of the file.
        schema: names and types of the columns, in the order of the file; further columns are left.
        separator: one character.
        has_header: whether the first line names the columns; our names are used all the same.
        encoding: of the file.
        quote_char: what stands around a value that has the separator in it; None: nothing does.

    Raises:
        DataError: the file is missing, empty, cut short or has a value that does not parse; the
            message names file and line.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        frame = pl.read_csv(
            path,
            separator=separator,
            has_header=has_header,
            encoding=encoding,
            infer_schema=False,
            columns=list(range(len(schema))),
            quote_char=quote_char,
        )
        frame.columns = list(schema)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as {len(schema)} columns: {reason}") from error
    if frame.is_empty():
        raise DataError(f"{path}: no rows")
    return _typed(frame, schema, path, first_line=2 if has_header else 1)


def _typed(
    frame: pl.DataFrame, schema: Mapping[str, pl.DataType], path: Path, first_line: int
) -> pl.DataFrame:
    typed = frame.with_columns(
        pl.col(name).cast(kind, strict=False) for name, kind in schema.items()
    )
    for name, kind in schema.items():
        if kind == pl.String:
            continue
        bad = typed[name].is_null()
        if kind in (pl.Float32, pl.Float64):
            bad = bad | ~typed[name].is_finite().fill_null(False)
        if bad.any():
            row = bad.arg_max()
            assert row is not None
            raise DataError(
                f"{path}, line {row + first_line}: {frame[name][row]!r} is not a valid {name} "
                f"({int(bad.sum())} such lines)"
            )
    return typed

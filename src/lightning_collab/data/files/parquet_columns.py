"""Reading Parquet as strictly as text: a value that makes no sense is named with file and row."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from lightning_collab.data.column_rules import Place, Rule, Unit, typed_columns
from lightning_collab.data.files.kinds import check_file
from lightning_collab.data.files.text_columns import READ_ERRORS
from lightning_collab.errors import DataError


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
        raise _unreadable(path, error) from error


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
        raise _unreadable(path, error) from error
    return typed_columns(raw, types, rules, Place.rows(path), unit=unit, time_format=time_format)


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{path}: not a complete Parquet file: {reason}")

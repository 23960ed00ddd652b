"""Reading Parquet as strictly as text: a value that makes no sense is named with file and row."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from lightning_collab.data.column_rules import Rule, check_columns, number_rules
from lightning_collab.data.text_columns import READ_ERRORS, check_file
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
        return pl.scan_parquet(path).collect_schema().names()
    except READ_ERRORS as error:
        raise _unreadable(path, error) from error


def read_parquet_columns(
    path: Path,
    chosen: Mapping[str, str],
    types: Mapping[str, pl.DataType],
    rules: Sequence[Rule] = (),
) -> pl.DataFrame:
    """Some columns of a file, typed.

    Args:
        path: of the file.
        chosen: our name of each column -> theirs.
        types: by our names; numbers must be there in each row. Dates become seconds since 1970.
        rules: what must hold of the values.

    Raises:
        DataError: the file is not whole, has no rows, or a value or a column does not fit.
    """
    try:
        columns = [pl.col(theirs).alias(ours) for ours, theirs in chosen.items()]
        raw = pl.scan_parquet(path).select(columns).collect()
    except READ_ERRORS as error:
        raise _unreadable(path, error) from error
    if raw.is_empty():
        raise DataError(f"{path}: no rows")
    dates = [name for name, kind in raw.schema.items() if kind in (pl.Date, pl.Datetime)]
    raw = raw.with_columns(pl.col(name).cast(pl.Datetime("us")).dt.epoch("s") for name in dates)
    for name, kind in raw.schema.items():
        if not (kind.is_numeric() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
            raise DataError(f"{path}: a column is of a type that makes no sense: {name} is {kind}")
    typed = raw.with_columns(_converted(name, raw.schema[name], types[name]) for name in chosen)
    check_columns(typed, raw, [*number_rules(types), *rules], lambda row: f"{path}, row {row + 1}")
    return typed


def _converted(name: str, found: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if found in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if wanted == pl.Int64 and found.is_float():
        # Ids that a missing value has once turned into floats.
        column = pl.when(column == column.floor()).then(column)
    return column.cast(wanted, strict=False)


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{path}: not a whole Parquet file: {reason}")

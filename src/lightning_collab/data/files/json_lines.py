"""Reading JSON lines, an object a row, as strictly as the other kinds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from lightning_collab.data.column_rules import Place, Rule, Unit, typed_columns
from lightning_collab.data.files.text_columns import READ_ERRORS
from lightning_collab.data.files.unpacked import PlainText
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

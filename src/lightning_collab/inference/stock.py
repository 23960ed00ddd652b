"""Which items may be recommended at all: those in stock, and those that enough people rated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.data.column_names import USUAL_NAMES, plain
from lightning_collab.data.text_columns import (
    READ_ERRORS,
    TextFormat,
    check_file,
    column_names,
    read_text_columns,
)
from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.errors import ConfigError, DataError, NotFoundError
from lightning_collab.inference.lookup import RawIds, rows_of_ids
from lightning_collab.runs.plain_text import printable
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)

# Ids in Python, or a file of them.
Stock = RawIds | str | Path


def barred_items(
    run: TrainedModel,
    *,
    only: Stock | None = None,
    exclude: Stock | None = None,
    min_ratings: int = 0,
) -> NDArray[np.int32]:
    """The rows of the items that are not to be recommended to anybody.

    Args:
        run: the trained run.
        only: raw ids of the items that may be recommended, or a CSV or Parquet file with a column
            of them, found by the usual names, or a text file of ids alone, one a line; None: all.
        exclude: likewise of those that may not.
        min_ratings: training ratings that an item must have.

    Returns:
        int32 [n], ascending.

    Raises:
        ConfigError: nothing is left.
        DataError: a file is missing or not readable, or has no column of items.
        NotFoundError: the run knows none of the items of `only` or of `exclude`.
    """
    barred = np.zeros(len(run.items) + 1, dtype=bool)
    if only is not None:
        barred[:] = True
        barred[_rows(run, only, "only")] = False
    if exclude is not None:
        barred[_rows(run, exclude, "exclude")] = True
    barred[1:] |= run.items["ratings"].to_numpy() < min_ratings
    barred[UNKNOWN_ROW] = False
    rows = np.flatnonzero(barred).astype(np.int32)
    if len(rows) == len(run.items):
        raise ConfigError(
            "only, exclude and min_ratings together leave no item to recommend; widen one of them"
        )
    return rows


def _rows(run: TrainedModel, asked: Stock, key: str) -> NDArray[np.int32]:
    name = f"{key}={asked}" if isinstance(asked, str | Path) else key
    ids = _ids_of_file(Path(asked), key) if isinstance(asked, str | Path) else asked
    rows = rows_of_ids(run.item_vocabulary, ids)
    known: NDArray[np.int32] = rows[rows != UNKNOWN_ROW]
    if not len(known):
        raise NotFoundError(
            f"{name}: the run knows none of these {len(rows)} items{_first_unknown(ids, rows)}; "
            f"its ids are like {', '.join(map(str, run.item_vocabulary.ids.head(3).to_list()))}"
        )
    if len(known) < len(rows):
        log.warning(
            "%s: %d of %d items are not known to the run%s",
            name,
            len(rows) - len(known),
            len(rows),
            _first_unknown(ids, rows),
        )
    return known


def _first_unknown(ids: RawIds, rows: NDArray[np.int32]) -> str:
    """The first id of a file that the run does not know, which may be a header taken for one."""
    unknown = np.flatnonzero(rows == UNKNOWN_ROW)
    if not isinstance(ids, pl.Series) or not len(unknown):
        return ""
    return f" (the first: {printable(ids[int(unknown[0])])})"


def _ids_of_file(path: Path, key: str) -> pl.Series:
    if path.suffix.lower() not in (".parquet", ".pq"):
        return _ids_of_text(path, key)
    check_file(path)
    try:
        table = pl.read_parquet(path, glob=False)
    except READ_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read: {reason}") from error
    position = _item_column(table.columns)
    if position is None:
        raise DataError(f"{key}={path}: {_no_column(table.columns)}")
    return table.to_series(position).drop_nulls()


def _ids_of_text(path: Path, key: str) -> pl.Series:
    """A first line with a usual name is a header; without one, a single column is ids alone."""
    text = TextFormat(",", has_header=True, quote_char='"')
    names = column_names(path, text)
    position = _item_column(names)
    if position is None:
        if len(names) > 1:
            raise DataError(
                f"{key}={path}, line 1: {_no_column(names)}, or give a file of ids alone, one a "
                "line and without a header"
            )
        text, position = replace(text, has_header=False), 0
    table = read_text_columns(path, {"item": pl.String()}, text, positions=[position])
    return table["item"].drop_nulls()


def _item_column(names: Sequence[str]) -> int | None:
    """Where the first column stands that has one of the usual names."""
    usual = (place for place, name in enumerate(names) if plain(name) in USUAL_NAMES["item"])
    return next(usual, None)


def _no_column(names: Sequence[str]) -> str:
    return (
        f"no column of items; it has {', '.join(map(repr, names))}. Name one of them "
        f"{' or '.join(USUAL_NAMES['item'][:4])}"
    )

"""Which items may be recommended at all: those in stock, and those that enough people rated."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.data.column_names import USUAL_NAMES, plain
from lightning_collab.data.text_columns import READ_ERRORS, check_file
from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.errors import ConfigError, DataError, NotFoundError
from lightning_collab.inference.lookup import RawIds, rows_of_ids
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
            of them, found by the usual names; None: all.
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
    ids = _ids_of_file(Path(asked), key) if isinstance(asked, str | Path) else asked
    rows = rows_of_ids(run.item_vocabulary, ids)
    known: NDArray[np.int32] = rows[rows != UNKNOWN_ROW]
    if not len(known):
        raise NotFoundError(
            f"{key}: the run knows none of these {len(rows)} items; its ids are like "
            f"{', '.join(map(str, run.item_vocabulary.ids.head(3).to_list()))}"
        )
    if len(known) < len(rows):
        log.warning(
            "%s: %d of %d items are not known to the run", key, len(rows) - len(known), len(rows)
        )
    return known


def _ids_of_file(path: Path, key: str) -> pl.Series:
    check_file(path)
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pl.read_parquet(path, glob=False)
        else:
            table = pl.read_csv(path, infer_schema=False, glob=False)
    except pl.exceptions.NoDataError:
        raise DataError(f"{path}: the file is empty") from None
    except READ_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read: {reason}") from error
    for name in table.columns:
        if plain(name) in USUAL_NAMES["item"]:
            return table[name].drop_nulls()
    raise DataError(
        f"{key}={path}: no column of items, such as {' or '.join(USUAL_NAMES['item'][:4])}; it has "
        f"{', '.join(map(repr, table.columns))}"
    )

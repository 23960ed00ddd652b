"""Which items may be recommended at all: those in stock, and those that enough people rated."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple

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


# How many of the recommended items may be new ones, or that all are.
NewItems = int | Literal["only"]


class Offer(NamedTuple):
    """What may be recommended.

    Attributes:
        barred: int32 [n], rows that are not to be shown where items with ratings are meant; None:
            none of these is.
        barred_new: likewise where items without are; None: none of these is.
        new_items: at most so many of the latter are shown.
    """

    barred: NDArray[np.int32] | None
    barred_new: NDArray[np.int32] | None
    new_items: int


def offered(
    run: TrainedModel,
    top_k: int,
    *,
    only: Stock | None = None,
    exclude: Stock | None = None,
    min_ratings: int = 0,
    new_items: NewItems = 0,
) -> Offer:
    """What of a catalogue may be recommended.

    Args:
        run: the trained run.
        top_k: how many are recommended.
        only: see `barred_items`; so are the next two.
        exclude: see there.
        min_ratings: see there.
        new_items: how many of them may have no training ratings; `only`: all have none.

    Raises:
        ConfigError: nothing is left, or `new_items` is above `top_k`.
        DataError: as of `barred_items`.
        NotFoundError: as of `barred_items`.
    """
    if new_items != "only" and not 0 <= new_items <= top_k:
        raise ConfigError(
            f"new_items: {new_items} is not from 0 to top_k={top_k}; set a number in it, or only"
        )
    asked: dict[str, Any] = {"only": only, "exclude": exclude, "min_ratings": min_ratings}
    return Offer(
        None if new_items == "only" else barred_items(run, **asked),
        None if new_items == 0 else barred_items(run, **asked, new=True),
        top_k if new_items == "only" else new_items,
    )


def barred_items(
    run: TrainedModel,
    *,
    only: Stock | None = None,
    exclude: Stock | None = None,
    min_ratings: int = 0,
    new: bool = False,
) -> NDArray[np.int32]:
    """The rows of the items that are not to be recommended to anybody.

    Args:
        run: the trained run.
        only: raw ids of the items that may be recommended, or a CSV or Parquet file with a column
            of them, found by the usual names; None: all.
        exclude: likewise of those that may not.
        min_ratings: training ratings that an item must have, unless it is new.
        new: whether items without training ratings are meant, or those with some.

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
    counts = run.items["ratings"].to_numpy()
    barred[1:] |= (counts > 0) if new else (counts < max(min_ratings, 1))
    barred[UNKNOWN_ROW] = False
    rows = np.flatnonzero(barred).astype(np.int32)
    if len(rows) == len(run.items) and new:
        raise ConfigError(
            "new_items: the run knows no item without training ratings, or only and exclude leave "
            "none; lightning-collab add-items run=<run> items=<file> makes some known"
        )
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

"""Which items may be recommended at all: those in stock, and those that enough people rated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.data.column_names import USUAL_NAMES, usual_columns
from lightning_collab.data.files.kinds import check_file, is_parquet
from lightning_collab.data.files.tables import read_table
from lightning_collab.data.files.text_columns import column_names, read_opened
from lightning_collab.data.files.text_format import TextSettings, open_text
from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.errors import ConfigError, DataError, NotFoundError
from lightning_collab.inference.lookup import RawIds, ids_in, rows_of_ids, whole
from lightning_collab.runs.text import printable
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)

# Ids in Python, or a file of them.
Stock = RawIds | str | Path


def check_top_k(run: TrainedModel, top_k: int) -> None:
    """Refuse a number of recommendations that there cannot be.

    Args:
        run: the trained run.
        top_k: how many are asked for.

    Raises:
        ConfigError: it is below 1 or more than there are items.
    """
    if not 1 <= whole("top_k", top_k) <= len(run.items):
        raise ConfigError(
            f"top_k: {top_k} is not from 1 to {len(run.items):,}, the number of items that the run "
            "knows"
        )


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
    """What of a catalog may be recommended.

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
    check_top_k(run, top_k)
    if new_items != "only" and not 0 <= whole("new_items", new_items) <= top_k:
        raise ConfigError(
            f"new_items: {new_items} is not from 0 to top_k={top_k}; set a number in it, or only"
        )
    whole("min_ratings", min_ratings, least=0)
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
            of them, found by the usual names, or a text file of ids alone, one a line; None: all.
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
            "new_items: the run knows no item without training ratings, or 'only' and 'exclude' "
            "leave none; lightning-collab add-items run=<run> items=<file> adds some"
        )
    if len(rows) == len(run.items):
        raise ConfigError(
            "only, exclude and min_ratings together leave no item to recommend; widen one of them"
        )
    return rows


def _rows(run: TrainedModel, asked: Stock, key: str) -> NDArray[np.int32]:
    name = f"{key}={asked}" if isinstance(asked, str | Path) else key
    file = Path(asked) if isinstance(asked, str | Path) else None
    ids = ids_in(key, asked) if file is None else _ids_of_file(file, key)
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
    """A first line with a usual name is a header; without one, a single column is ids alone."""
    check_file(path)
    if is_parquet(path):
        table = read_table(path)
        name = _item_column(table.columns)
        if name is None:
            raise DataError(f"{key}={path}: {_no_column(table.columns)}")
        return table[name].drop_nulls()
    with ExitStack() as stack:
        opened = open_text(path, TextSettings(header=True), stack)
        names = column_names(opened.path, opened.format, path)
        name = _item_column(names)
        position = 0 if name is None else names.index(name)
        if name is None:
            if len(names) > 1:
                raise DataError(
                    f"{key}={path}, line 1: {_no_column(names)}, or give a file of ids alone, one "
                    "a line and without a header"
                )
            opened = replace(opened, format=replace(opened.format, has_header=False))
        table = read_opened(opened, {"item": pl.String()}, [position])
    return table["item"].drop_nulls()


def _item_column(names: Sequence[str]) -> str | None:
    """The first column that has one of the usual names."""
    return next(iter(usual_columns("item", names)), None)


def _no_column(names: Sequence[str]) -> str:
    return (
        f"no column of items; it has {', '.join(map(repr, names))}. Name one of them "
        f"{' or '.join(USUAL_NAMES['item'][:4])}"
    )

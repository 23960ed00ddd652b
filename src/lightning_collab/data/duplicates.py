"""Several ratings of one item by one user."""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightning_collab.data.rating_table import RatingTable
from lightning_collab.errors import DataError

Policy = Literal["error", "last", "mean"]


def with_one_rating_each(table: RatingTable, policy: Policy, key: str | None) -> RatingTable:
    """A table in which each user has rated each item at most once.

    Args:
        table: all ratings.
        policy: `error`: refuse the table; `last`: keep the last rating in time, of the same time
            or without times the last in the file; `mean`: the last one's place, with the mean of
            the ratings.
        key: of the policy in the config, for the error message; None: there is none to set.

    Returns:
        The table itself where there is nothing to do.

    Raises:
        DataError: there are several ratings, and the policy is `error`.
    """
    pair = table.users.astype(np.int64) * len(table.item_vocabulary) + table.items
    ordered = np.sort(pair)
    repeats = int((ordered[1:] == ordered[:-1]).sum())
    if not repeats:
        return table
    if policy == "error":
        example = ordered[np.flatnonzero(ordered[1:] == ordered[:-1])[0]]
        user, item = divmod(int(example), len(table.item_vocabulary))
        advice = "" if key is None else f"; say {key}=last or {key}=mean to make one of them"
        raise DataError(
            f"{table.name}: {repeats} ratings are of an item that the same user has rated already "
            f"(first: user {table.user_vocabulary.decode(np.array([user]))[0]!r}, item "
            f"{table.item_vocabulary.decode(np.array([item]))[0]!r}){advice}"
        )
    times = table.timestamps if table.timestamps is not None else np.zeros(len(pair), np.int8)
    by_pair = np.lexsort((np.arange(len(pair)), times, pair))
    last = np.append(pair[by_pair][1:] != pair[by_pair][:-1], True)
    kept = np.sort(by_pair[last])
    ratings = table.ratings
    if policy == "mean":
        which = np.cumsum(last) - last
        means = np.bincount(which, ratings[by_pair]) / np.bincount(which)
        ratings = ratings.copy()
        ratings[by_pair[last]] = means
    return _rows_of(replace(table, ratings=ratings), kept)


def _rows_of(table: RatingTable, kept: NDArray[np.int64]) -> RatingTable:
    """Only some rows, in ascending order."""
    new_row = np.full(len(table), -1, dtype=np.int32)
    new_row[kept] = np.arange(len(kept), dtype=np.int32)
    parts = {name: new_row[rows] for name, rows in table.parts.items()}
    return replace(
        table,
        users=table.users[kept],
        items=table.items[kept],
        ratings=table.ratings[kept],
        timestamps=None if table.timestamps is None else table.timestamps[kept],
        parts={name: rows[rows >= 0] for name, rows in parts.items()},
    )

"""A part of each user's ratings."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import Rows

Quota = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""From the number of rows that each user has to how many of them are taken."""


def first_of_each_user(table: RatingTable, rows: Rows, quota: Quota) -> tuple[Rows, Rows]:
    """Take the first rows of each user; one row of each user is always left.

    Args:
        table: all ratings.
        rows: of the table, in the order in which they are taken.
        quota: how many of each user's rows.

    Returns:
        The rows taken and the others, both in the order that they had.
    """
    users = table.users[rows]
    counts = np.bincount(users, minlength=len(table.user_vocabulary))
    wanted = np.minimum(quota(counts), np.maximum(counts - 1, 0))
    by_user = np.argsort(users, kind="stable")
    first = np.cumsum(counts) - counts
    place = np.arange(len(rows)) - first[users[by_user]]
    taken = np.empty(len(rows), dtype=bool)
    taken[by_user] = place < wanted[users[by_user]]
    return rows[taken], rows[~taken]


def share_of_each(share: float) -> Quota:
    """The share, rounded to whole rows for each user.

    Args:
        share: from 0 on, below 1.
    """
    return lambda counts: np.rint(share * counts).astype(np.int64)


def one_of_each(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """One row of each user."""
    return np.ones_like(counts)

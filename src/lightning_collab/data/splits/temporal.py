"""Splits by time, or within each user: the last ratings test."""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from lightning_collab.config.split import (
    LeaveOneOutConfig,
    TemporalSplitConfig,
    UserStratifiedConfig,
)
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import (
    Rows,
    SplitRows,
    check_share,
    divided,
    permutation,
)
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

# From the number of rows that each user has to how many of them are taken.
Quota = Callable[[NDArray[np.int64]], NDArray[np.int64]]


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


def split_each_user(
    table: RatingTable, order: Rows, config: TemporalSplitConfig | UserStratifiedConfig
) -> SplitRows:
    """Each user's first ratings are test, the next val, the others train.

    Args:
        table: all ratings.
        order: of its rows.
        config: the shares, which are rounded to whole rows for each user.

    Raises:
        DataError: a part that the config asks for would have no rows.
    """
    test, rest = _share_of_each_user(table, order, config.test, "split.test")
    val, train = _share_of_each_user(table, rest, config.val, "split.val")
    return SplitRows(train, val, test)


def _share_of_each_user(
    table: RatingTable, rows: Rows, share: float, key: str
) -> tuple[Rows, Rows]:
    taken, others = first_of_each_user(
        table, rows, lambda counts: np.rint(share * counts).astype(np.int64)
    )
    check_share(len(taken), len(rows), share, key)
    return taken, others


def split_one_of_each_user(table: RatingTable, config: LeaveOneOutConfig) -> SplitRows:
    """One rating of each user who has two or more is test, and one more val if asked for.

    A user's only rating trains: without it nothing would be known of the user.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows, or the table has no
            timestamps to pick the last one by.
    """
    order = latest_first(table) if config.pick == "last" else permutation(len(table), config.seed)
    test, rest = first_of_each_user(table, order, np.ones_like)
    check_share(len(test), len(order), 1, "one rating of each user,")
    if config.val == "one":
        val, train = first_of_each_user(table, rest, np.ones_like)
        check_share(len(val), len(rest), 1, "split.val=one: one more of each user,")
    else:
        val, train = divided(rest[permutation(len(rest), config.seed)], config.val, "split.val")
    return SplitRows(train, val, test)


def split_in_time(table: RatingTable, config: TemporalSplitConfig) -> SplitRows:
    """The last rows are test, those before them val; ratings of the same second in file order.

    Args:
        table: all ratings, with timestamps.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows, or the table has no
            timestamps.
    """
    order = latest_first(table)
    if config.by == "user":
        return split_each_user(table, order, config)
    test, rest = _latest(table, order, config.test, config.test_from, "test")
    val, train = _latest(table, rest, config.val, config.val_from, "val")
    return SplitRows(train, val, test)


def latest_first(table: RatingTable) -> Rows:
    """All rows of a table from the last in time to the first.

    Args:
        table: with timestamps.

    Raises:
        DataError: it has none.
    """
    if table.timestamps is None:
        raise DataError(
            f"{table.name} has no timestamps to split by; name their column by "
            "data.columns.timestamp (timestamp= in Python)"
        )
    if len(table) and (table.timestamps == table.timestamps[0]).all():
        log.warning(
            "%s: all timestamps are equal (%d), so that the order of the file decides what is last",
            *(table.name, table.timestamps[0]),
        )
    order = np.argsort(table.timestamps, kind="stable")[::-1]
    return order.astype(np.int32) if len(table) < 2**31 else order


def _latest(
    table: RatingTable, rows: Rows, share: float, first_day: date | None, part: str
) -> tuple[Rows, Rows]:
    """The rows from a day on, or the last share of them; and the rows before."""
    if first_day is None:
        return divided(rows, share, f"split.{part}")
    assert table.timestamps is not None
    start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC).timestamp()
    # `rows` is in descending order of time.
    count = int(np.searchsorted(-table.timestamps[rows], -start, side="right"))
    if count in (0, len(rows)):
        first, last = (
            datetime.fromtimestamp(int(seconds), UTC).date()
            for seconds in (table.timestamps.min(), table.timestamps.max())
        )
        raise DataError(
            f"split.{part}_from={first_day} leaves {'no rating' if count == 0 else 'only ratings'} "
            f"on or after that day; {table.name} is from {first} to {last}"
        )
    return rows[:count], rows[count:]

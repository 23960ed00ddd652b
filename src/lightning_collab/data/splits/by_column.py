"""Splits by what the data says: time, each user's order, a column of its own, or official folds.

Shares of each user's ratings are cut as RecBole does, so that results can be set beside its own.
"""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from lightning_collab.config.split import (
    LeaveOneOutConfig,
    OfficialFoldConfig,
    PredefinedSplitConfig,
    TemporalSplitConfig,
    UserRatioConfig,
    UserStratifiedConfig,
)
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits import Rows, SplitRows, check_share, divided, permutation
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


def split_by_user_ratio(table: RatingTable, config: UserRatioConfig) -> SplitRows:
    """Each user's ratings in random order: the first train, the next are val, the last test.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows.
    """
    rows = permutation(len(table), config.seed)
    users = table.users[rows]
    counts = np.bincount(users, minlength=len(table.user_vocabulary))
    val, test = counts_of_parts(counts, config.val, config.test)
    by_user = np.argsort(users, kind="stable")
    first = np.cumsum(counts) - counts
    left = np.empty(len(rows), dtype=np.int64)
    # How many of the user's rows come after each, itself too.
    left[by_user] = (first + counts)[users[by_user]] - np.arange(len(rows))
    tested = left <= test[users]
    validated = ~tested & (left <= (test + val)[users])
    check_share(int(tested.sum()), len(rows), config.test, "split.test")
    check_share(int(validated.sum()), len(rows), config.val, "split.val")
    return SplitRows(rows[~tested & ~validated], rows[validated], rows[tested])


def counts_of_parts(
    counts: NDArray[np.int64], val: float, test: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many rows of each user validate and test.

    Shares are cut to whole rows. Where one comes to less than a row, but not to none, it gets one,
    test before validation, as long as two or more are left to train on. So
    `Dataset._calcu_split_ids` of RecBole does it, by the same floating-point products.

    Args:
        counts: int64 [users], rows of each.
        val: share of them.
        test: share of them.

    Returns:
        Two of int64 [users]: of validation, of test.
    """
    in_val, in_test = ((share * counts).astype(np.int64) for share in (val, test))
    train = counts - in_val - in_test
    for part, share in ((in_test, test), (in_val, val)):
        given = (train > 1) & (share * counts > 0) & (share * counts < 1)
        part += given
        train -= given
    return in_val, in_test


def split_as_given(table: RatingTable, config: PredefinedSplitConfig) -> SplitRows:
    """Test and val as the table's parts say; all other rows train.

    Args:
        table: all ratings, with parts.
        config: the `split` section.

    Raises:
        DataError: the table has no such part, or a part has no rows.
    """
    rest = np.ones(len(table), dtype=bool)
    test = _part(table, config.test_part, "test_part")
    rest[test] = False
    val = _part(table, config.val_part, "val_part")
    rest[val] = False
    train: Rows = np.flatnonzero(rest).astype(np.int32)
    if not len(train):
        raise DataError(f"split=predefined: the parts of {table.name} leave no rating to train on")
    if config.val > 0:
        val, train = divided(train[permutation(len(train), config.seed)], config.val, "split.val")
    return SplitRows(train, val, test)


def _part(table: RatingTable, name: str | None, key: str) -> Rows:
    if name is None:
        return np.zeros(0, dtype=np.int32)
    rows = table.parts.get(name)
    if rows is None or not len(rows):
        what_to_do = f"Set split.{key} to one of them or to null"
        if not table.parts:
            what_to_do = (
                "Name the column that says train, val or test by data.columns.part (part= in "
                "Python), or the file of the part by data.test_path"
            )
        raise DataError(
            f"split.{key}={name}: {table.name} has no rows of that part; it has "
            f"{', '.join(table.parts) or 'none'}. {what_to_do}"
        )
    return rows


def split_by_official_fold(table: RatingTable, config: OfficialFoldConfig) -> SplitRows:
    """Test is the official part; validation comes out of its base, by lot or as another fold.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: the table has no such fold, or a part would have no rows.
    """
    _check_fold(table, "fold", config.fold)
    test = table.parts[config.fold]
    in_base = np.ones(len(table), dtype=bool)
    in_base[test] = False
    another = np.empty(0, dtype=test.dtype)
    if config.val_fold is not None:
        _check_fold(table, "val_fold", config.val_fold)
        another = table.parts[config.val_fold]
        another = another[in_base[another]]
        in_base[another] = False
    base = np.flatnonzero(in_base).astype(test.dtype)
    drawn, train = divided(base[permutation(len(base), config.seed)], config.val, "split.val")
    return SplitRows(train, another if len(another) else drawn, test)


def _check_fold(table: RatingTable, key: str, fold: str) -> None:
    if fold not in table.parts:
        known = f"has {', '.join(table.parts)}" if table.parts else "has none"
        raise DataError(
            f"split.{key}={fold}: this copy of {table.name} {known}; the official folds are "
            "those of the ratings of MovieLens 100K as they were released (a changed file has only "
            "those that u1.test, ..., ub.test beside it say): "
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
        )
    if not len(table.parts[fold]):
        raise DataError(
            f"split.{key}={fold}: data.min_rating and data.k_core have left no row of that fold; "
            "lower them"
        )

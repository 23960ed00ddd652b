"""Shares of each user's ratings as RecBole cuts them, so that results can be set beside its own."""

import numpy as np
from numpy.typing import NDArray

from lightning_collab.config.split import UserRatioConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import SplitRows, check_share, permutation


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

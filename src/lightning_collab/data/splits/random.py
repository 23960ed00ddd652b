"""Splits drawn at random: over all rows, within each user, as folds, or as the lecture draws."""

import numpy as np

from lightning_collab.config.split import (
    KFoldSplitConfig,
    LectureSplitConfig,
    RandomSplitConfig,
    UserStratifiedConfig,
)
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import SplitRows, check_share, divided, permutation
from lightning_collab.data.splits.temporal import split_each_user
from lightning_collab.errors import DataError


def split_randomly(table: RatingTable, config: RandomSplitConfig) -> SplitRows:
    """The first rows of a random order are test, the next val, the others train.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows.
    """
    order = permutation(len(table), config.seed)
    test, rest = divided(order, config.test, "split.test")
    val, train = divided(rest, config.val, "split.val")
    return SplitRows(train, val, test)


def split_within_users(table: RatingTable, config: UserStratifiedConfig) -> SplitRows:
    """Each user's ratings in random order: the first are test, the next val, the others train.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows.
    """
    return split_each_user(table, permutation(len(table), config.seed), config)


def split_by_fold(table: RatingTable, config: KFoldSplitConfig) -> SplitRows:
    """A random order cut into equal folds: one is test; val is drawn out of the others.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: more folds than rows, or a part would have no rows.
    """
    rows = len(table)
    if config.folds > rows:
        raise DataError(f"split.folds={config.folds} of {rows} ratings leaves folds without any")
    order = permutation(rows, config.seed)
    start, end = ((config.fold - back) * rows // config.folds for back in (1, 0))
    rest = np.concatenate([order[:start], order[end:]])
    val, train = divided(rest, config.val, "split.val")
    return SplitRows(train, val, order[start:end])


SHARE = 0.2


def split_as_in_the_lecture(table: RatingTable, config: LectureSplitConfig) -> SplitRows:
    """The course's `get_cv_idxs`: `RandomState(42).permutation(n)[:int(0.2 * n)]` is validation.

    Args:
        table: all ratings.
        config: the `split` section; `val` above 0 makes the 20% the test part.

    Raises:
        DataError: a part that the config asks for would have no rows.
    """
    order = permutation(len(table), config.seed)
    count = int(SHARE * len(order))
    check_share(count, len(order), SHARE, "the share of split=lecture,")
    held_out, rest = order[:count], order[count:]
    if config.val == 0:
        return SplitRows(rest, held_out, held_out[:0])
    val, train = divided(rest, config.val, "split.val")
    return SplitRows(train, val, held_out)

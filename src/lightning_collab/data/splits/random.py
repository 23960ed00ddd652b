"""Splits drawn at random: over all rows, within each user, as folds, as the lecture draws, or cold.

Cold: all ratings of some items, or of some users, are held out; how well are new ones served?
"""

import numpy as np

from lightning_collab.config.split import (
    ColdItemsConfig,
    ColdUsersConfig,
    KFoldSplitConfig,
    LectureSplitConfig,
    RandomSplitConfig,
    UserStratifiedConfig,
)
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits import Rows, SplitRows, check_share, divided, permutation
from lightning_collab.data.splits.by_column import split_each_user
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


def split_off_whole_sides(
    table: RatingTable, config: ColdItemsConfig | ColdUsersConfig
) -> SplitRows:
    """The ratings of randomly drawn items (users) are test; val is drawn out of the others.

    Which ones is a matter of the ids and the seed, not of the order of the rows.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows.
    """
    of_rows = table.items if config.side == "items" else table.users
    held_out = _drawn(np.unique(of_rows), table.name, config)
    cold = np.zeros(int(of_rows.max()) + 1, dtype=bool)
    cold[held_out] = True
    of_test = cold[of_rows]
    rest = permutation(len(table), config.seed)
    val, train = divided(rest[~of_test[rest]], config.val, "split.val")
    return SplitRows(train, val, np.flatnonzero(of_test).astype(rest.dtype))


def _drawn(ids: Rows, name: str, config: ColdItemsConfig | ColdUsersConfig) -> Rows:
    """Which of a table's ids are held out.

    Args:
        ids: all that have ratings, in ascending order.
        name: of the table, for messages.
        config: the `split` section.
    """
    whole = f"the {len(ids)} {config.side} of {name}"
    if len(ids) < 2:
        raise DataError(
            f"split={config.name} needs two {config.side} or more, some to test on and some to "
            f"train on, and {name} has ratings of {len(ids)}; choose another split"
        )
    order = ids[permutation(len(ids), config.seed)]
    if config.folds is not None:
        if config.folds > len(ids):
            raise DataError(
                f"split.folds={config.folds} of {whole} leaves folds without any; set split.folds "
                f"to {len(ids)} or less"
            )
        return order[config.fold - 1 :: config.folds]
    count = round(config.share * len(ids))
    if count == 0:
        raise DataError(
            f"split.share={config.share} of {whole} leaves none to test on; set split.share to "
            f"{1 / len(ids):.2g} or more"
        )
    if count == len(ids):
        raise DataError(
            f"split.share={config.share} of {whole} leaves none to train on; lower split.share"
        )
    return order[:count]

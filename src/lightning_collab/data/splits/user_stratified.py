"""`split=user_stratified`: the same share of each user's ratings, drawn at random."""

from lightning_collab.config.split import UserStratifiedConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import SplitRows, check_share, permutation
from lightning_collab.data.splits.within_users import first_of_each_user, share_of_each


def split_within_users(table: RatingTable, config: UserStratifiedConfig) -> SplitRows:
    """Each user's ratings in random order: the first are test, the next val, the others train.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows.
    """
    order = permutation(len(table), config.seed)
    test, rest = first_of_each_user(table, order, share_of_each(config.test))
    check_share(len(test), len(order), config.test, "split.test")
    val, train = first_of_each_user(table, rest, share_of_each(config.val))
    check_share(len(val), len(rest), config.val, "split.val")
    return SplitRows(train, val, test)

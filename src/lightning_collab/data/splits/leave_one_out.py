"""`split=leave_one_out`: one rating of each user tests."""

from lightning_collab.config.split import LeaveOneOutConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import SplitRows, check_share, divided, permutation
from lightning_collab.data.splits.temporal import latest_first
from lightning_collab.data.splits.within_users import first_of_each_user, one_of_each


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
    test, rest = first_of_each_user(table, order, one_of_each)
    check_share(len(test), len(order), 1, "one rating of each user,")
    if config.val == "one":
        val, train = first_of_each_user(table, rest, one_of_each)
        check_share(len(val), len(rest), 1, "split.val=one: one more of each user,")
    else:
        val, train = divided(rest[permutation(len(rest), config.seed)], config.val, "split.val")
    return SplitRows(train, val, test)

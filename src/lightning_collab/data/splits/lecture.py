"""`split=lecture`: the 20% that the fastai course's lesson on collaborative filtering holds out."""

from lightning_collab.config.split import LectureSplitConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import SplitRows, check_share, divided, permutation

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

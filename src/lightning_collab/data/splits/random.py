"""`split=random`: rows drawn at random."""

from lightning_collab.config.split import RandomSplitConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import SplitRows, divided, permutation


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

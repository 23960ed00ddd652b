"""Which ratings train, validate and test: one module for each way to split."""

from lightning_collab.config.split import (
    KFoldSplitConfig,
    LeaveOneOutConfig,
    LectureSplitConfig,
    OfficialFoldConfig,
    PredefinedSplitConfig,
    RandomSplitConfig,
    Split,
    TemporalSplitConfig,
    UserStratifiedConfig,
)
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.predefined import split_as_given, split_by_official_fold
from lightning_collab.data.splits.random import (
    split_as_in_the_lecture,
    split_by_fold,
    split_randomly,
    split_within_users,
)
from lightning_collab.data.splits.split_rows import Rows, SplitRows
from lightning_collab.data.splits.temporal import split_in_time, split_one_of_each_user


def split_rows(table: RatingTable, config: Split) -> SplitRows:
    """Split a table as a config asks.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows, or the table lacks what the
            split is made by.
    """
    match config:
        case RandomSplitConfig():
            return split_randomly(table, config)
        case LectureSplitConfig():
            return split_as_in_the_lecture(table, config)
        case OfficialFoldConfig():
            return split_by_official_fold(table, config)
        case KFoldSplitConfig():
            return split_by_fold(table, config)
        case TemporalSplitConfig():
            return split_in_time(table, config)
        case LeaveOneOutConfig():
            return split_one_of_each_user(table, config)
        case UserStratifiedConfig():
            return split_within_users(table, config)
        case PredefinedSplitConfig():
            return split_as_given(table, config)


__all__ = ["Rows", "SplitRows", "split_rows"]

"""Which ratings train, validate and test: one module for each way to split."""

from collections.abc import Callable
from typing import Any

from lightning_collab.config.split import Split
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits import predefined, random, temporal
from lightning_collab.data.splits.split_rows import Rows, SplitRows

# By the name that a config has for it.
SPLITS: dict[str, Callable[[RatingTable, Any], SplitRows]] = {
    "random": random.split_randomly,
    "lecture": random.split_as_in_the_lecture,
    "official_fold": predefined.split_by_official_fold,
    "k_fold": random.split_by_fold,
    "temporal": temporal.split_in_time,
    "leave_one_out": temporal.split_one_of_each_user,
    "user_stratified": random.split_within_users,
    "predefined": predefined.split_as_given,
}


def split_rows(table: RatingTable, config: Split) -> SplitRows:
    """Split a table as a config asks.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows, or the table lacks what the
            split is made by.
    """
    return SPLITS[config.name](table, config)


__all__ = ["Rows", "SplitRows", "split_rows"]

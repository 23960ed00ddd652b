"""`split=given`: the parts that the data itself names."""

import numpy as np

from lightning_collab.config.split import GivenSplitConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import Rows, SplitRows, divided, permutation
from lightning_collab.errors import DataError


def split_as_given(table: RatingTable, config: GivenSplitConfig) -> SplitRows:
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
        raise DataError(f"split=given: the parts of {table.name} leave no rating to train on")
    if config.val > 0:
        val, train = divided(train[permutation(len(train), config.seed)], config.val, "split.val")
    return SplitRows(train, val, test)


def _part(table: RatingTable, name: str | None, key: str) -> Rows:
    if name is None:
        return np.zeros(0, dtype=np.int32)
    rows = table.parts.get(name)
    if rows is None or not len(rows):
        raise DataError(
            f"split.{key}={name}: {table.name} has no rows of that part; it has "
            f"{', '.join(table.parts) or 'none'}. Set split.{key} to one of them or to null"
        )
    return rows

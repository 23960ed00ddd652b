"""`split=official_fold`: a test part that comes with the release."""

import numpy as np

from lightning_collab.config.split import OfficialFoldConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import SplitRows, divided, permutation
from lightning_collab.errors import DataError


def split_by_official_fold(table: RatingTable, config: OfficialFoldConfig) -> SplitRows:
    """Test is the official part; validation comes out of its base, by lot or as another fold.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: the table has no such fold, or a part would have no rows.
    """
    _check_fold(table, "fold", config.fold)
    test = table.parts[config.fold]
    in_base = np.ones(len(table), dtype=bool)
    in_base[test] = False
    another = np.empty(0, dtype=test.dtype)
    if config.val_fold is not None:
        _check_fold(table, "val_fold", config.val_fold)
        another = table.parts[config.val_fold]
        another = another[in_base[another]]
        in_base[another] = False
    base = np.flatnonzero(in_base).astype(test.dtype)
    drawn, train = divided(base[permutation(len(base), config.seed)], config.val, "split.val")
    return SplitRows(train, another if len(another) else drawn, test)


def _check_fold(table: RatingTable, key: str, fold: str) -> None:
    if fold not in table.parts:
        known = f"has {', '.join(table.parts)}" if table.parts else "has none"
        raise DataError(
            f"split.{key}={fold}: this copy of {table.name} {known}; the official folds are "
            "those of the ratings of MovieLens 100K as they were released (a changed file has only "
            "those that u1.test, ..., ub.test beside it say): "
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
        )

"""Splits that come with the data: a column of its own, or the official folds of a release."""

import numpy as np

from lightning_collab.config.split import OfficialFoldConfig, PredefinedSplitConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import Rows, SplitRows, divided, permutation
from lightning_collab.errors import DataError


def split_as_given(table: RatingTable, config: PredefinedSplitConfig) -> SplitRows:
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
        raise DataError(f"split=predefined: the parts of {table.name} leave no rating to train on")
    if config.val > 0:
        val, train = divided(train[permutation(len(train), config.seed)], config.val, "split.val")
    return SplitRows(train, val, test)


def _part(table: RatingTable, name: str | None, key: str) -> Rows:
    if name is None:
        return np.zeros(0, dtype=np.int32)
    rows = table.parts.get(name)
    if rows is None or not len(rows):
        what_to_do = f"Set split.{key} to one of them or to null"
        if not table.parts:
            what_to_do = (
                "Name the column that says train, val or test by data.columns.part (part= in "
                "Python), or the file of the part by data.test_path"
            )
        raise DataError(
            f"split.{key}={name}: {table.name} has no rows of that part; it has "
            f"{', '.join(table.parts) or 'none'}. {what_to_do}"
        )
    return rows


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
    if not len(table.parts[fold]):
        raise DataError(
            f"split.{key}={fold}: data.min_rating and data.k_core have left no row of that fold; "
            "lower them"
        )

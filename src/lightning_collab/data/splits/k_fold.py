"""`split=k_fold`: one fold of a random k-fold."""

import numpy as np

from lightning_collab.config.split import KFoldSplitConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import SplitRows, divided, permutation
from lightning_collab.errors import DataError


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

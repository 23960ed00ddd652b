"""Who rated what: the training ratings as features."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.data.features.feature_block import FeatureBlock


def history_block(
    name: str,
    rows: NDArray[np.int32],
    others: NDArray[np.int32],
    *,
    row_count: int,
    other_ids: pl.Series,
) -> FeatureBlock:
    """The items of each user, or the users of each item, scaled by 1/sqrt(count).

    Koren (2008), "Factorization meets the neighborhood", section 4 (SVD++): that somebody rated
    an item at all says something of the person, whatever the rating.

    Args:
        name: of the block.
        rows: int32 [n], rows of the training ratings on this side, above 0.
        others: int32 [n], their rows on the other side, above 0.
        row_count: rows of this side's vocabulary.
        other_ids: known ids of the other side.

    Returns:
        Column j stands for row j + 1 of the other side. A pair that was rated several times counts
        once.
    """
    pairs = rows.astype(np.int64) * (len(other_ids) + 1) + others
    distinct = np.unique(pairs)
    if len(distinct) < len(pairs):
        pairs = distinct
        rows = (pairs // (len(other_ids) + 1)).astype(np.int32)
        others = (pairs % (len(other_ids) + 1)).astype(np.int32)
    return FeatureBlock.of_pairs(name, rows, others - 1, other_ids, row_count)

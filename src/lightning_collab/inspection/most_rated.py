"""Which users or items are shown where there is no room for all."""

from typing import Any

import numpy as np
import polars as pl

from lightning_collab.inspection.projector_files import MAX_ROWS


def most_rated(known: pl.DataFrame, limit: int = MAX_ROWS) -> np.ndarray[Any, Any]:
    """Positions of the most rated rows, in the order of the table.

    Args:
        known: with `ratings`.
        limit: how many at most.
    """
    order = np.argsort(-known["ratings"].to_numpy(), kind="stable")[:limit]
    return np.sort(order)

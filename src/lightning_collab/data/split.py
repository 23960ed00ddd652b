"""Which ratings train, validate and test."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_collab.config.split import Split
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.errors import DataError

Rows = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class SplitRows:
    """Row numbers of a table: disjoint, and all rows together.

    Attributes:
        train: int [n_train].
        val: int [n_val], empty where there is no validation part.
        test: int [n_test], empty where there is no test part.
    """

    train: Rows
    val: Rows
    test: Rows


def split_rows(table: RatingTable, config: Split) -> SplitRows:
    """Split a table as a config asks.

    The draws come from numpy's `RandomState`, whose streams are frozen: the same seed gives the
    same split on every machine and with every version.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows.
    """
    order = np.random.RandomState(config.seed).permutation(len(table))
    test, rest = _divided(order, config.test, "split.test")
    val, train = _divided(rest, config.val, "split.val")
    return SplitRows(train=train, val=val, test=test)


def _divided(rows: Rows, share: float, key: str) -> tuple[Rows, Rows]:
    """The first `share` of the rows, and the others."""
    count = round(share * len(rows))
    if share > 0 and count == 0:
        raise DataError(f"{key}={share} of {len(rows)} ratings is no rating at all")
    if count == len(rows):
        raise DataError(f"{key}={share} of {len(rows)} ratings leaves none to train on")
    return rows[:count], rows[count:]

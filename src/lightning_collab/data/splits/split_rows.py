"""The three parts of a table, as row numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def permutation(rows: int, seed: int) -> Rows:
    """The numbers below `rows` in random order.

    numpy's `RandomState` has frozen streams: the same seed gives the same order on every machine
    and with every version. These are the numbers of `RandomState(seed).permutation(rows)`, in half
    the memory where they fit.

    Args:
        rows: how many.
        seed: of the order.

    Returns:
        int32 [rows], int64 from 2^31 rows on.
    """
    order: Rows = np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)
    np.random.RandomState(seed).shuffle(order)
    return order


def divided(rows: Rows, share: float, key: str) -> tuple[Rows, Rows]:
    """The first `share` of the rows, and the others.

    Args:
        rows: in the order in which they are taken.
        share: from 0 on, below 1.
        key: of the share in the config, for error messages.

    Raises:
        DataError: a share above 0 is no row at all, or leaves none.
    """
    count = round(share * len(rows))
    check_share(count, len(rows), share, key)
    return rows[:count], rows[count:]


def check_share(count: int, of: int, share: float, key: str) -> None:
    """Refuse a part without rows that was asked for, and one that leaves none to train on.

    Args:
        count: rows of the part.
        of: rows that it was taken from.
        share: that was asked for.
        key: of the share in the config.

    Raises:
        DataError: as said.
    """
    if share > 0 and count == 0:
        raise DataError(f"{key}={share} of {of} ratings is no rating at all")
    if count == of:
        raise DataError(f"{key}={share} of {of} ratings leaves none to train on")

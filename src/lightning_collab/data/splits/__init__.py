"""Which ratings train, validate and test: the parts of a table as row numbers, in several ways."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_collab.config.split import SplitConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.errors import DataError, shape_of

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


def split_rows(table: RatingTable, config: SplitConfig) -> SplitRows:
    """Split a table as a config asks.

    Args:
        table: all ratings.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows, the table lacks what the
            split is made by, or a split of others breaks its contract.
    """
    found: SplitRows = config.split(table)
    if type(config).split is not SplitConfig.split:
        _check(found, len(table), config)
    return found


def _check(found: object, rows: int, config: SplitConfig) -> None:
    """Hold the result of a split of others to what `SplitConfig.split` promises."""
    method = f"split={config.name}: {type(config).__name__}.split"
    if not isinstance(found, SplitRows):
        raise DataError(f"{method} must return a SplitRows, and gave {type(found).__name__}")
    times = np.zeros(rows, dtype=np.int64)
    for part in ("train", "val", "test"):
        of_part = getattr(found, part)
        if not (
            isinstance(of_part, np.ndarray) and of_part.ndim == 1 and of_part.dtype.kind in "iu"
        ):
            raise DataError(
                f"{method}: {part} must be row numbers, int [n], and is {shape_of(of_part)}"
            )
        if len(of_part) and not 0 <= of_part.min() <= of_part.max() < rows:
            raise DataError(
                f"{method}: {part} has rows from {of_part.min()} to {of_part.max()}, and the table "
                f"has 0 to {rows - 1}"
            )
        times += np.bincount(of_part, minlength=rows)
    if times.max(initial=0) > 1:
        raise DataError(
            f"{method}: {(times > 1).sum()} rows are in it more than once (first: row "
            f"{times.argmax()}); train, val and test must have no row in common"
        )
    if not len(found.train):
        raise DataError(f"{method} leaves no rating to train on")
    if config.has_val != bool(len(found.val)):
        raise DataError(
            f"{method} gives a validation part of {len(found.val)} rows, and has_val is "
            f"{config.has_val}; unless it is overridden, that is whether split.val is above 0"
        )


__all__ = ["Rows", "SplitRows", "split_rows"]

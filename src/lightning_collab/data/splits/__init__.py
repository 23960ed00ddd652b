"""Which ratings train, validate and test: one module for each way to split."""

import numpy as np

from lightning_collab.config.split import SplitConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import Rows, SplitRows
from lightning_collab.errors import DataError, shape_of


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

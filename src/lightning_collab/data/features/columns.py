"""Columns of the table of users or of items as features: categories and binned numbers."""

import logging
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.data.features.feature_block import FeatureBlock
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

MISSING = "(missing)"
"""The category of those of whom the column says nothing."""


def category_block(key: str, name: str, column: pl.Series) -> FeatureBlock:
    """One column for each value; `(missing)` is a value of its own.

    Args:
        key: of the block in the config, for messages.
        name: of the block.
        column: [known ids], one value or a list of values each; null and the empty list: missing.

    Returns:
        Columns by ascending value, `(missing)` last where there is any.

    Raises:
        DataError: all have the same value.
    """
    entries = column.to_frame("value").with_row_index("row")
    if isinstance(column.dtype, pl.List | pl.Array):
        entries = entries.explode("value")
    entries = entries.with_columns(pl.col("value").cast(pl.String)).drop_nulls()
    entries = entries.unique(maintain_order=True)
    values = entries["value"].unique().sort()
    without = np.setdiff1d(np.arange(len(column)), entries["row"].to_numpy())
    labels = pl.concat([values, pl.Series([MISSING])]) if len(without) else values
    _report_missing(key, len(without), len(column))
    _check_several(key, labels, len(column))
    positions = values.search_sorted(entries["value"]).to_numpy() if len(values) else np.empty(0)
    rows = np.concatenate([entries["row"].to_numpy(), without]).astype(np.int32) + 1
    columns = np.concatenate([positions, np.full(len(without), len(values))]).astype(np.int32)
    return FeatureBlock.of_pairs(name, rows, columns, labels.rename("label"), len(column) + 1)


def binned_block(key: str, name: str, column: pl.Series, bins: int) -> FeatureBlock:
    """A number, one column for each bin; the bins hold about as many rows each.

    Args:
        key: of the block in the config, for messages.
        name: of the block.
        column: [known ids], numbers; null and NaN: missing.
        bins: at most so many; equal ones are merged.

    Returns:
        Columns by ascending bin, `(missing)` last where there is any.

    Raises:
        DataError: the column holds no numbers, or all have the same value.
    """
    if not column.dtype.is_numeric():
        raise DataError(
            f"{key}: the column {column.name!r} holds {column.dtype}, not numbers; "
            f"say {key}.kind=category"
        )
    values = column.cast(pl.Float64).fill_nan(None)
    known = values.is_not_null().to_numpy()
    numbers: NDArray[np.float64] = values.drop_nulls().to_numpy()
    missing = len(values) - len(numbers)
    _report_missing(key, missing, len(column))
    edges = np.empty(0)
    if len(numbers):
        cuts = np.quantile(numbers, np.arange(1, bins) / bins, method="higher")
        edges = np.unique(cuts[cuts > numbers.min()])
    labels = pl.Series("label", _bin_names(numbers, edges), dtype=pl.String)
    labels = pl.concat([labels, pl.Series("label", [MISSING])]) if missing else labels
    _check_several(key, labels, len(column))
    columns = np.full(len(values), len(labels) - 1, dtype=np.int32)
    columns[known] = np.searchsorted(edges, numbers, side="right")
    rows = np.arange(1, len(values) + 1, dtype=np.int32)
    return FeatureBlock.of_pairs(name, rows, columns, labels, len(column) + 1)


def _bin_names(numbers: NDArray[np.float64], edges: NDArray[np.float64]) -> list[str]:
    """Each bin as `from .. below`, the last one as `from ..`."""
    if not len(numbers):
        return []
    starts = [float(numbers.min()), *edges.tolist()]
    names = [f"{a:g} to below {b:g}" for a, b in pairwise(starts)]
    return [*names, f"{starts[-1]:g} and above"]


def _report_missing(key: str, missing: int, total: int) -> None:
    if missing:
        log.info("%s: no value for %d of %d, a category of their own", key, missing, total)


def _check_several(key: str, labels: pl.Series, total: int) -> None:
    if len(labels) < 2:
        raise DataError(
            f"{key}: all {total} have the same value ({labels[0] if len(labels) else 'none'}), "
            f"which tells nothing; leave it out: ~{key}"
        )

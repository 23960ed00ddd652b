"""Blocks of features: sparse matrices with a row for each user or item."""

import logging
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lightning_collab.errors import DataError


class FeatureBlock(NamedTuple):
    """A sparse matrix with a row for each user or item of the training vocabulary.

    Each row has length 1, so that a mapped row does not grow with the number of its entries: one
    entry of 1, or n entries of 1/sqrt(n). The unknown row is empty.

    Attributes:
        name: of the block, by which the config names it.
        matrix: float32 [vocabulary rows, width], with int32 or int64 indices, sorted in each row.
        labels: [width], what each column stands for: a value, a bin, or the id that was rated.
    """

    name: str
    matrix: csr_array
    labels: pl.Series

    @classmethod
    def of_pairs(
        cls,
        name: str,
        rows: NDArray[np.int32],
        columns: NDArray[np.int32],
        labels: pl.Series,
        row_count: int,
    ) -> "FeatureBlock":
        """The block that has an entry at each pair, scaled by 1/sqrt(entries of the row).

        Args:
            name: of the block.
            rows: int32 [entries], above 0.
            columns: int32 [entries]; no pair comes twice.
            labels: of the columns.
            row_count: rows of the vocabulary.
        """
        counts = np.bincount(rows, minlength=row_count)
        values = (1.0 / np.sqrt(np.maximum(counts, 1))).astype(np.float32)[rows]
        matrix = csr_array((values, (rows, columns)), shape=(row_count, len(labels)))
        matrix.sort_indices()
        return cls(name, matrix, labels)


log = logging.getLogger(__name__)

# The category of those of whom the column says nothing.
MISSING = "(missing)"


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
            f"set {key}.kind=category"
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

"""From a column of a table to entries of a feature block, for ids seen in training and new ones."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

# The category of those of whom the column says nothing.
MISSING = "(missing)"


class Encoder(NamedTuple):
    """What training ids have made of a column, in plain values that a run can keep.

    A value that no training id has adds no entry.

    Attributes:
        kind: `category`: an entry for each value; `binned`: for the bin of a number; `history`:
            there is no column, and nobody without training ratings has an entry.
        column: of the table of users or items; empty of a history.
        values: categories, ascending; or where bins begin, but for the first one.
        missing: whether the last column of the block stands for a missing value.
        width: columns of the block.
    """

    kind: Literal["category", "binned", "history"]
    column: str
    values: tuple[str, ...] | tuple[float, ...]
    missing: bool
    width: int

    def encode(self, column: pl.Series | None, count: int) -> csr_array:
        """The block's entries of some ids, float32 [count, width], rows of length 1 or empty.

        Args:
            column: [count]; None: the table has no such column.
            count: how many ids.
        """
        if column is None or self.kind == "history":
            return csr_array((count, self.width), dtype=np.float32)
        rows, places = (
            category_entries(column, self.values)
            if self.kind == "category"
            else bin_entries(column, np.array(self.values))
        )
        if self.missing:
            # Of a value that no training id has, something is known all the same.
            without = np.flatnonzero(missing_in(column))
            rows = np.concatenate([rows, without])
            places = np.concatenate([places, np.full(len(without), self.width - 1)])
        return scaled(rows, places, (count, self.width))

    def state(self) -> dict[str, Any]:
        """Plain values that `from_state` takes."""
        return {**self._asdict(), "values": list(self.values)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The encoder that `state` came from."""
        return cls(**{**state, "values": tuple(state["values"])})


def category_entries(
    column: pl.Series, values: tuple[Any, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and places of the values that a column has, each once a row.

    Args:
        column: one value or a list of values each.
        values: text, ascending.
    """
    entries = column.alias("value").to_frame().with_row_index("row")
    if isinstance(column.dtype, pl.List | pl.Array):
        entries = entries.explode("value")
    entries = entries.with_columns(pl.col("value").cast(pl.String)).drop_nulls()
    places = pl.DataFrame(
        {"value": pl.Series(list(values), dtype=pl.String), "place": np.arange(len(values))}
    )
    found = entries.unique(maintain_order=True).join(
        places, on="value", how="inner", maintain_order="left"
    )
    return found["row"].cast(pl.Int64).to_numpy(), found["place"].cast(pl.Int64).to_numpy()


def bin_entries(
    column: pl.Series, edges: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and bins of the numbers that a column has.

    Args:
        column: numbers.
        edges: where bins begin, but for the first one.
    """
    values = column.cast(pl.Float64, strict=False).fill_nan(None)
    rows = np.flatnonzero(values.is_not_null().to_numpy())
    return rows, np.searchsorted(edges, values.drop_nulls().to_numpy(), side="right")


def missing_in(column: pl.Series) -> NDArray[np.bool_]:
    """Where a column says nothing: null, NaN, or a list without values."""
    if isinstance(column.dtype, pl.List | pl.Array):
        column = column.list.drop_nulls().list.len().replace(0, None)
    if column.dtype.is_float():
        column = column.fill_nan(None)
    missing: NDArray[np.bool_] = column.is_null().to_numpy()
    return missing


def scaled(
    rows: NDArray[np.integer[Any]], places: NDArray[np.integer[Any]], shape: tuple[int, int]
) -> csr_array:
    """A sparse matrix with 1/sqrt(entries of the row) at each pair, float32, sorted.

    Args:
        rows: int [entries].
        places: int [entries]; no pair comes twice.
        shape: of the matrix.
    """
    counts = np.bincount(rows, minlength=shape[0])
    values = (1.0 / np.sqrt(np.maximum(counts, 1))).astype(np.float32)[rows]
    matrix = csr_array((values, (rows.astype(np.int32), places.astype(np.int32))), shape=shape)
    matrix.sort_indices()
    return matrix

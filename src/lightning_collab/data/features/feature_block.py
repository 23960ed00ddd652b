"""A block of features: a sparse matrix with a row for each user or item."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array


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

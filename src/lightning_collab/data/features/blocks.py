"""Blocks of features: sparse matrices with a row for each user or item."""

import logging
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from lightning_collab.data.features.encoders import (
    MISSING,
    Encoder,
    Kind,
    finite,
    hashed_words,
    missing_in,
    scaled,
    word_weights,
)
from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.errors import DataError


class FeatureBlock(NamedTuple):
    """A sparse matrix with a row for each user or item of the training vocabulary.

    Each row has length 1, so that a mapped row does not grow with the number of its entries: one
    entry of 1, or n entries of 1/sqrt(n). A number alone is as far from 0 as it is from its mean,
    in standard deviations. The unknown row is empty.

    Attributes:
        name: of the block, by which the config names it.
        matrix: float32 [vocabulary rows, width], with int32 or int64 indices, sorted in each row.
        labels: [width], what each column stands for: a value, a bin, the number, a hash of words,
            or the id that was rated.
        encoder: makes entries of further ids; None: nothing is known of them.
    """

    name: str
    matrix: csr_array
    labels: pl.Series
    encoder: Encoder | None = None

    @property
    def is_history(self) -> bool:
        """Whether it is of training ratings alone."""
        return self.encoder is not None and self.encoder.kind == "history"


log = logging.getLogger(__name__)


def category_block(key: str, name: str, column: pl.Series, *, quiet: bool = False) -> FeatureBlock:
    """One column for each value; `(missing)` is a value of its own.

    Args:
        key: of the block in the config, for messages.
        name: of the block.
        column: [known ids], one value or a list of values each; null and the empty list: missing.
        quiet: nothing is said of missing values.

    Returns:
        Columns by ascending value, `(missing)` last where there is any.

    Raises:
        DataError: all have the same value.
    """
    entries = column.explode() if isinstance(column.dtype, pl.List | pl.Array) else column
    values = entries.cast(pl.String).drop_nulls().unique().sort()
    missing = int(missing_in(column).sum())
    if not quiet:
        _report_missing(key, missing, len(column))
    return _block(key, name, column, "category", values, tuple(values.to_list()), missing)


def binned_block(
    key: str, name: str, column: pl.Series, bins: int, *, quiet: bool = False
) -> FeatureBlock:
    """A number, one column for each bin; the bins hold about as many rows each.

    Args:
        key: of the block in the config, for messages.
        name: of the block.
        column: [known ids], numbers; null and NaN: missing.
        bins: at most so many; equal ones are merged.
        quiet: nothing is said of missing values.

    Returns:
        Columns by ascending bin, `(missing)` last where there is any.

    Raises:
        DataError: the column holds no numbers, or all have the same value.
    """
    _check_numeric(key, column)
    values = column.cast(pl.Float64).fill_nan(None)
    numbers: NDArray[np.float64] = values.drop_nulls().to_numpy()
    missing = len(values) - len(numbers)
    if not quiet:
        _report_missing(key, missing, len(column))
    edges = np.empty(0)
    if len(numbers):
        cuts = np.quantile(numbers, np.arange(1, bins) / bins, method="higher")
        edges = np.unique(cuts[cuts > numbers.min()])
    labels = pl.Series(_bin_names(numbers, edges), dtype=pl.String)
    return _block(key, name, column, "binned", labels, tuple(edges.tolist()), missing)


def number_block(key: str, name: str, column: pl.Series) -> FeatureBlock:
    """A number as one column: standardized, at most 4 standard deviations from the mean.

    Args:
        key: of the block in the config, for messages.
        name: of the block.
        column: [known ids], numbers; null, NaN and infinity: missing.

    Returns:
        The number, then `(missing)` where there is any.

    Raises:
        DataError: the column holds no numbers, or all have the same value.
    """
    _check_numeric(key, column)
    numbers = finite(column).drop_nulls().to_numpy()
    missing = len(column) - len(numbers)
    _report_missing(key, missing, len(column))
    deviation = float(numbers.std()) if len(numbers) else 0.0
    if not deviation > 0:
        only = f"{numbers[0]:g}" if len(numbers) else "none"
        raise DataError(_of_one_value(key, len(column), only))
    labels = pl.Series([column.name], dtype=pl.String)
    return _block(key, name, column, "number", labels, (float(numbers.mean()), deviation), missing)


def text_block(key: str, name: str, column: pl.Series, width: int) -> FeatureBlock:
    """The words of a text, hashed into columns and weighted by tf-idf.

    Args:
        key: of the block in the config, for messages.
        name: of the block.
        column: [known ids], text or lists of text; null and texts of blanks: missing.
        width: number of hashes.

    Returns:
        A column for each hash, then `(missing)` where there is any.

    Raises:
        DataError: no text has a word, or scikit-learn is not installed.
    """
    words = hashed_words(column, width)
    if not words.nnz:
        raise DataError(
            f"{key}: the column {column.name!r} has no words (of two letters or more); "
            f"leave it out: ~{key}"
        )
    missing = int(missing_in(column, "text").sum())
    _report_missing(key, missing, len(column))
    labels = pl.Series([f"words of hash {number}" for number in range(width)])
    weights = tuple(word_weights(words).tolist())
    return _block(key, name, column, "text", labels, weights, missing)


def _block(
    key: str,
    name: str,
    column: pl.Series,
    kind: Kind,
    labels: pl.Series,
    values: tuple[Any, ...],
    missing: int,
) -> FeatureBlock:
    """The block of a column, by an encoder that is made of it."""
    if missing:
        labels = pl.concat([labels, pl.Series([MISSING])])
    labels = labels.alias("label")
    if kind != "number":
        _check_several(key, labels, len(column))
    encoder = Encoder(kind, column.name, values, missing > 0, len(labels))
    unknown = csr_array((1, len(labels)), dtype=np.float32)
    matrix = csr_array(vstack([unknown, encoder.encode(column, len(column))], format="csr"))
    return FeatureBlock(name, matrix, labels, encoder)


def _bin_names(numbers: NDArray[np.float64], edges: NDArray[np.float64]) -> list[str]:
    """Each bin as `from .. below`, the last one as `from ..`."""
    if not len(numbers):
        return []
    starts = [float(numbers.min()), *edges.tolist()]
    names = [f"{a:g} to below {b:g}" for a, b in pairwise(starts)]
    return [*names, f"{starts[-1]:g} and above"]


def _report_missing(key: str, missing: int, total: int) -> None:
    if missing:
        log.info(
            "%s: no value for %d of %d; these are a category of their own", key, missing, total
        )


def _check_several(key: str, labels: pl.Series, total: int) -> None:
    if len(labels) < 2:
        raise DataError(_of_one_value(key, total, labels[0] if len(labels) else "none"))


def _of_one_value(key: str, total: int, value: str) -> str:
    return (
        f"{key}: all {total} have the same value ({value}), which carries no information; "
        f"leave it out: ~{key}"
    )


def _check_numeric(key: str, column: pl.Series) -> None:
    if not column.dtype.is_numeric():
        raise DataError(
            f"{key}: the column {column.name!r} holds {column.dtype}, not numbers; "
            f"set {key}.kind=category"
        )


INTERCEPT = "intercept"


def intercept_block(rows: int) -> FeatureBlock:
    """One column, of which everyone has 1.

    Args:
        rows: of the vocabulary.
    """
    matrix = np.ones((rows, 1), np.float32)
    matrix[UNKNOWN_ROW] = 0
    encoder = Encoder("intercept", "", (), False, 1)
    return FeatureBlock(INTERCEPT, csr_array(matrix), pl.Series("label", [INTERCEPT]), encoder)


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
    an item at all says something about the user, whatever the rating.

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
    matrix = scaled(rows, others - 1, (row_count, len(other_ids)))
    return FeatureBlock(name, matrix, other_ids, Encoder("history", "", (), False, len(other_ids)))

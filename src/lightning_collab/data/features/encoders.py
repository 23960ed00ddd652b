"""From a column of a table to entries of a feature block, for ids seen in training and new ones.

Words of a text become hashed columns with tf-idf weights, by scikit-learn.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lightning_collab.errors import DataError

Kind = Literal["category", "binned", "number", "text", "history", "intercept"]
Entries = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32] | None]

# The category of those of whom the column says nothing.
MISSING = "(missing)"
# A number further from the mean counts as being so many standard deviations away.
FURTHEST = 4.0


class Encoder(NamedTuple):
    """What training ids have made of a column, in plain values that a run can keep.

    A value, or a word, that no training id has adds no entry.

    Attributes:
        kind: `category`: an entry for each value; `binned`: for the bin of a number; `number`: the
            number itself, standardized; `text`: for each hashed word; `history`: there is no
            column, and nobody without training ratings has an entry; `intercept`: everyone has 1.
        column: of the table of users or items; empty where there is none.
        values: categories, ascending; where bins begin, but for the first one; mean and standard
            deviation of a number; the weight of each hashed word.
        missing: whether the last column of the block stands for a missing value.
        width: columns of the block.
    """

    kind: Kind
    column: str
    values: tuple[str, ...] | tuple[float, ...]
    missing: bool
    width: int

    def encode(self, column: pl.Series | None, count: int) -> csr_array:
        """The block's entries of some ids, float32 [count, width].

        Rows have length 1 or are empty, but for those of a number.

        Args:
            column: [count]; None: the table has no such column.
            count: how many ids.

        Raises:
            DataError: it holds text, and scikit-learn is not installed.
        """
        if self.kind == "intercept":
            return csr_array(np.ones((count, 1), np.float32))
        if column is None or self.kind == "history":
            return csr_array((count, self.width), dtype=np.float32)
        rows, places, values = self._entries(column)
        if self.missing:
            # Of a value that no training id has, something is known all the same.
            without = np.flatnonzero(missing_in(column, self.kind))
            rows = np.concatenate([rows, without])
            places = np.concatenate([places, np.full(len(without), self.width - 1)])
            if values is not None:
                values = np.concatenate([values, np.ones(len(without), np.float32)])
        return scaled(rows, places, (count, self.width), values)

    def _entries(self, column: pl.Series) -> Entries:
        """Rows, places and values of a column's entries; no values: those of a row are alike."""
        if self.kind == "category":
            return (*category_entries(column, self.values), None)
        if self.kind == "binned":
            return (*bin_entries(column, np.array(self.values)), None)
        if self.kind == "number":
            return number_entries(column, *map(float, self.values))
        weights = np.array(self.values, np.float32)
        words = weighted_words(hashed_words(column, len(weights)), weights).tocoo()
        rows, places = words.coords
        return rows.astype(np.int64), places.astype(np.int64), words.data

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


def number_entries(
    column: pl.Series, mean: float, deviation: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Rows, places (0) and standardized values of the numbers that a column has.

    Args:
        column: numbers.
        mean: of the training ids.
        deviation: of the training ids.
    """
    values = finite(column)
    rows = np.flatnonzero(values.is_not_null().to_numpy())
    standard = (values.drop_nulls().to_numpy() - mean) / deviation
    clipped = standard.clip(-FURTHEST, FURTHEST).astype(np.float32)
    return rows, np.zeros(len(rows), np.int64), clipped


def finite(column: pl.Series) -> pl.Series:
    """A column's numbers as Float64; null where there is none, or one without an end."""
    values = column.cast(pl.Float64, strict=False)
    return values.to_frame().select(pl.when(pl.first().is_finite()).then(pl.first())).to_series()


def missing_in(column: pl.Series, kind: Kind = "category") -> NDArray[np.bool_]:
    """Where a column says nothing: null, NaN, a list without values, a text without words."""
    if kind == "number":
        column = finite(column)
    if kind == "text":
        without: NDArray[np.bool_] = np.array([not text.strip() for text in texts_of(column)])
        return without
    if isinstance(column.dtype, pl.List | pl.Array):
        column = column.list.drop_nulls().list.len().replace(0, None)
    if column.dtype.is_float():
        column = column.fill_nan(None)
    missing: NDArray[np.bool_] = column.is_null().to_numpy()
    return missing


def scaled(
    rows: NDArray[np.integer[Any]],
    places: NDArray[np.integer[Any]],
    shape: tuple[int, int],
    values: NDArray[np.float32] | None = None,
) -> csr_array:
    """A sparse matrix, float32, sorted.

    Args:
        rows: int [entries].
        places: int [entries]; no pair comes twice.
        shape: of the matrix.
        values: float32 [entries]; None: 1/sqrt(entries of the row).
    """
    if values is None:
        counts = np.bincount(rows, minlength=shape[0])
        values = (1.0 / np.sqrt(np.maximum(counts, 1))).astype(np.float32)[rows]
    matrix = csr_array((values, (rows.astype(np.int32), places.astype(np.int32))), shape=shape)
    matrix.sort_indices()
    return matrix


def texts_of(column: pl.Series) -> list[str]:
    """A text for each row: a list's texts one after the other, none where there is nothing."""
    if isinstance(column.dtype, pl.List | pl.Array):
        column = column.cast(pl.List(pl.String)).list.drop_nulls().list.join(" ")
    texts: list[str] = column.cast(pl.String).fill_null("").to_list()
    return texts


def hashed_words(column: pl.Series, width: int) -> csr_array:
    """How often each text has the words of each hash, float32 [rows, width].

    A word is two letters or digits or more, in lower case; its place is its MurmurHash3 modulo
    `width` (Weinberger et al. 2009, "Feature hashing for large scale multitask learning"), so that
    no list of words has to be kept.

    Args:
        column: text, or lists of text.
        width: number of hashes.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
    except ImportError as error:
        raise DataError(
            f"the text of {column.name!r} is read by scikit-learn, which is not installed: "
            "pip install 'lightning-collab[text]'"
        ) from error
    hashing = HashingVectorizer(n_features=width, alternate_sign=False, norm=None, dtype=np.float32)
    return csr_array(hashing.transform(texts_of(column)))


def word_weights(words: csr_array) -> NDArray[np.float32]:
    """Inverse document frequencies, float32 [width]; 0 of a hash that no text has.

    ln((1 + n) / (1 + n_w)) + 1 with n texts, n_w of which have the word, as scikit-learn's
    `TfidfTransformer`.

    Args:
        words: [texts, width], from `hashed_words`.
    """
    with_words = int((np.diff(words.indptr) > 0).sum())
    having = np.bincount(words.indices, minlength=words.shape[1])
    weights = np.log((1 + with_words) / (1 + having)) + 1
    return np.where(having > 0, weights, 0).astype(np.float32)


def weighted_words(words: csr_array, weights: NDArray[np.float32]) -> csr_array:
    """Counts of words times their weights, each row of length 1 or empty, float32 [rows, width].

    Args:
        words: [rows, width], from `hashed_words`.
        weights: float32 [width], from `word_weights`.
    """
    rows = np.repeat(np.arange(words.shape[0]), np.diff(words.indptr))
    values = words.data * weights[words.indices]
    lengths = np.sqrt(np.bincount(rows, values.astype(np.float64) ** 2, minlength=words.shape[0]))
    there = values > 0
    rows, places, values = rows[there], words.indices[there], values[there]
    return csr_array(
        ((values / lengths[rows]).astype(np.float32), (rows, places)), shape=words.shape
    )

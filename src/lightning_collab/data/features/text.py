"""Words of a text as hashed columns with tf-idf weights, by scikit-learn."""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lightning_collab.errors import DataError


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

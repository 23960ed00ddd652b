"""Entries of feature blocks for ids that no block was made of."""

import sys

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from lightning_collab.data.features.blocks import (
    binned_block,
    category_block,
    history_block,
    number_block,
    text_block,
)
from lightning_collab.data.features.build import describing_encoders, lines_of
from lightning_collab.data.features.encoders import Encoder
from lightning_collab.errors import DataError

GENRES = pl.Series("genres", [["War"], ["Drama", "War"], [], ["Comedy"]])


AGE = pl.Series("age", [10, None, 30, 40, 50])
PLOT = pl.Series("plot", ["a war of the stars", None, "the war", "stars, stars and love", "  "])


@pytest.mark.parametrize(
    "block",
    [
        category_block("k", "genres", GENRES),
        binned_block("k", "age", AGE, 2),
        number_block("k", "age", AGE),
        text_block("k", "plot", PLOT, 32),
    ],
    ids=["category", "binned", "number", "text"],
)
def test_the_ids_that_a_block_is_made_of_get_their_own_entries_again(block):
    column = {"genres": GENRES, "age": AGE, "plot": PLOT}[block.name]
    again = Encoder.from_state(block.encoder.state()).encode(column, len(column))
    np.testing.assert_array_equal(again.toarray(), block.matrix.toarray()[1:])


def test_a_value_that_no_training_id_has_adds_nothing():
    encoder = category_block("k", "genres", GENRES).encoder
    column = pl.Series("genres", [["Western"], ["War", "Western"], None, ["War", "War"]])
    found = encoder.encode(column, 4).toarray()
    # Comedy, Drama, War, (missing)
    expected = [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_numbers_beyond_the_training_ones_fall_into_the_outer_bins():
    encoder = binned_block("k", "age", pl.Series("age", [10, 20, 30, 40]), 2).encoder
    found = encoder.encode(pl.Series("age", [-5, 29, 30, 900, None]), 5).toarray()
    expected = [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_a_number_is_in_deviations_from_the_mean_of_the_training_ids():
    block = number_block("k", "price", pl.Series("price", [1.0, 3.0, None, np.inf, np.nan]))
    assert block.labels.to_list() == ["price", "(missing)"]
    expected = [[0, 0], [-1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]
    np.testing.assert_array_equal(block.matrix.toarray(), np.array(expected, np.float32))
    # Mean 2, deviation 1; nothing is more than 4 away.
    found = block.encoder.encode(pl.Series("price", [2.5, 1e9, -1e9, None, 2.0]), 5).toarray()
    assert found[:, 0].tolist() == [0.5, 4.0, -4.0, 0.0, 0.0]
    assert found[:, 1].tolist() == [0, 0, 0, 1, 0]
    # Without a missing value in training there is no column for one.
    encoder = number_block("k", "price", pl.Series("price", [1, 3])).encoder
    assert encoder.encode(pl.Series("price", [None, 5.0]), 2).toarray().tolist() == [[0], [3]]


def test_words_are_weighted_as_scikit_learn_does():
    texts = ["A war of the stars", "the War", "stars, stars and love", "robots in love", "war war"]
    block = text_block("k", "plot", pl.Series("plot", texts), 64)
    vectorizer = HashingVectorizer(n_features=64, alternate_sign=False, norm=None)
    counts = vectorizer.transform(texts)
    theirs = TfidfTransformer().fit(counts)
    np.testing.assert_allclose(
        block.matrix.toarray()[1:], theirs.transform(counts).toarray(), atol=1e-6
    )
    further = ["the love of robots and stars", "war"]
    np.testing.assert_allclose(
        block.encoder.encode(pl.Series("plot", further), 2).toarray(),
        # The words that no training text has add nothing, and here there is none of these.
        theirs.transform(vectorizer.transform(further)).toarray(),
        atol=1e-6,
    )
    assert block.encoder.encode(pl.Series("plot", ["unheard", "", None]), 3).nnz == 0


def test_a_list_of_texts_is_one_text_and_blanks_are_missing():
    lists = pl.Series("tags", [["space war", "love"], [], None, ["love", None]])
    block = text_block("k", "tags", lists, 16)
    assert block.labels.to_list()[-1] == "(missing)"
    found = block.matrix.toarray()
    assert found[:, -1].tolist() == [0, 0, 1, 1, 0]
    joined = text_block("k", "tags", pl.Series("tags", ["space war love", "", " ", "love"]), 16)
    np.testing.assert_array_equal(joined.matrix.toarray(), found)
    assert (found[1:] ** 2).sum(1) == pytest.approx(np.ones(4)), "each row has length 1"


@pytest.mark.parametrize("values", [["x", "y"], ["", None], ["?", "! !"]])
def test_a_text_without_words_is_refused(values):
    with pytest.raises(DataError, match=r"'plot' has no words .*~features\.items\.p"):
        text_block("features.items.p", "p", pl.Series("plot", values, dtype=pl.String), 8)


@pytest.mark.parametrize("values", [[3, 3], [None, 2.0], [np.nan, np.inf]])
def test_a_number_without_two_values_is_refused(values):
    with pytest.raises(DataError, match="have the same value"):
        number_block("features.items.p", "p", pl.Series("price", values, strict=False))
    with pytest.raises(DataError, match="kind=category"):
        number_block("features.items.p", "p", pl.Series("price", ["1", "2"]))


def test_text_needs_a_package_that_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(DataError, match=r"'plot' is read by scikit-learn.*collab\[text\]"):
        text_block("k", "plot", PLOT, 8)


def test_nobody_without_ratings_has_a_history():
    block = history_block(
        "history",
        np.array([1, 2], np.int32),
        np.array([1, 3], np.int32),
        row_count=3,
        other_ids=pl.Series([7, 8, 9]),
    )
    assert block.encoder.encode(pl.Series("x", [1, 2]), 2).nnz == 0
    assert block.encoder.width == 3


def test_columns_that_say_something_are_found():
    rows = 40
    table = pl.DataFrame(
        {
            "item": range(rows),
            "title": [f"Title {n}" for n in range(rows)],
            "shop": ["north", "south"] * (rows // 2),
            "price": [float(n) for n in range(rows)],
            "stars": [n % 3 for n in range(rows)],
            "one": ["same"] * rows,
            "tags": [["a"], ["a", "b"]] * (rows // 2),
            "nothing": pl.Series([None] * rows, dtype=pl.String),
        }
    )
    found = {each.column: each.kind for each in describing_encoders(table)}
    assert found == {"shop": "category", "price": "binned", "stars": "category", "tags": "category"}


def test_lines_come_in_the_order_of_the_ids():
    table = pl.DataFrame({"item": [3, 1, 2], "year": [1903, 1901, 1902]})
    found = lines_of(table, pl.Series([2, 9, 3]))
    assert found["item"].to_list() == [2, 9, 3]
    assert found["year"].to_list() == [1902, None, 1903]

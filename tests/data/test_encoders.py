"""Entries of feature blocks for ids that no block was made of."""

import numpy as np
import polars as pl
import pytest

from lightning_collab.data.features.blocks import binned_block, category_block, history_block
from lightning_collab.data.features.build import describing_encoders, lines_of
from lightning_collab.data.features.encoders import Encoder

GENRES = pl.Series("genres", [["War"], ["Drama", "War"], [], ["Comedy"]])


@pytest.mark.parametrize(
    "block",
    [
        category_block("k", "genres", GENRES),
        binned_block("k", "age", pl.Series("age", [10, None, 30, 40, 50]), 2),
    ],
    ids=["category", "binned"],
)
def test_the_ids_that_a_block_is_made_of_get_their_own_entries_again(block):
    column = {"genres": GENRES, "age": pl.Series("age", [10, None, 30, 40, 50])}[block.name]
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

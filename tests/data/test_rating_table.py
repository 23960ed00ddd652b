"""A table is known again by its values, whatever they came in."""

import dataclasses
import datetime as dt
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.data.rating_table import RatingTable, fingerprint
from lightning_collab.data.vocabulary import Vocabulary

ROWS = pl.DataFrame(
    {
        "user": ["a", "a", "b", "b", "c"],
        "item": [1, 2, 1, 2, 3],
        "rating": [1.0, 5.0, 2.5, 3.0, 4.0],
        "timestamp": [10, 20, 30, 40, 50],
    }
)
ITEMS = pl.DataFrame(
    {
        "item": [1, 2, 3],
        "title": ["Fargo", None, "No"],
        "genres": [["Crime", "Drama"], [], None],
        "price": [1.5, 2.0, None],
        "made": [dt.date(1996, 1, 1), None, dt.date(2012, 1, 1)],
        "studio": [{"name": "x", "of": 1}, {"name": "y", "of": 2}, {"name": "z", "of": 3}],
        "cost": [Decimal("1.50"), Decimal("2"), None],
        "huge": pl.Series([2**64 - 1, 1, 2], dtype=pl.UInt64),
        "old": [True, False, True],
        "raw": [b"a", b"", b"c"],
    }
)
PARTS = {"test": np.array([0, 2], dtype=np.int32)}


def table(frame=ROWS, items=ITEMS, parts=PARTS):
    return RatingTable.of_checked(
        frame, name="t", rating_range=(1.0, 5.0), item_features=items, parts=parts
    )


WHOLE = fingerprint(table())


def test_it_is_a_sha256_that_no_version_may_change():
    # Runs keep it: another sum for the same values would make them refuse their own frame.
    plain = ITEMS.select("item", "title", "genres", "price", "made")
    assert fingerprint(table(items=plain)) == (
        "f79949e721cd019ca5c73a0a9572f7b275784b951f5e1c661c324b8abbe78e4c"
    )


def with_value(frame, column, row, value):
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))


OTHER = {
    "user": "z",
    "item": 9,
    "rating": 4.5,
    "timestamp": 51,
    "title": "other",
    "genres": ["Crime"],
    "price": 2.25,
    "made": dt.date(1999, 1, 1),
    "studio": {"name": "x", "of": 9},
    "cost": Decimal("1.51"),
    "huge": 7,
    "old": None,
    "raw": b"b",
}


@given(st.sampled_from(ROWS.columns), st.integers(0, 4))
def test_it_changes_with_any_value_of_a_rating(column, row):
    assert fingerprint(table(with_value(ROWS, column, row, OTHER[column]))) != WHOLE


@given(st.sampled_from(ITEMS.columns[1:]), st.integers(0, 2))
def test_it_changes_with_any_value_of_a_feature(column, row):
    assert fingerprint(table(items=with_value(ITEMS, column, row, OTHER[column]))) != WHOLE


@given(st.permutations(range(5)))
def test_it_changes_with_the_order_of_rows(order):
    assert (fingerprint(table(ROWS[order])) == WHOLE) == (order == sorted(order))


@pytest.mark.parametrize(
    "other",
    [
        table(items=ITEMS.drop("title")),
        table(items=ITEMS.rename({"title": "name"})),
        table(items=None),
        table(ROWS.drop("timestamp")),
        table(parts={}),
        table(parts={"val": PARTS["test"]}),
        table(items=with_value(ITEMS, "genres", 0, ["CrimeDrama"])),
        table(items=with_value(ITEMS, "genres", 0, ["Crime", "Dram", "a"])),
        table(items=with_value(ITEMS, "genres", 1, None)),
        # The text of two columns, cut at another place.
        table(items=ITEMS.with_columns(title=pl.Series(["Far", "go", "No"]))),
    ],
)
def test_it_changes_with_what_there_is(other):
    assert fingerprint(other) != WHOLE


@given(st.permutations(ROWS.columns), st.permutations(ITEMS.columns))
def test_it_does_not_change_with_the_order_of_columns(columns, of_items):
    assert fingerprint(table(ROWS.select(columns), ITEMS.select(of_items))) == WHOLE


def test_it_does_not_change_with_what_holds_the_same_values():
    items = ITEMS.with_columns(
        pl.col("title").cast(pl.Categorical),
        pl.col("made").cast(pl.Datetime("ms")),
        pl.col("old").cast(pl.Int8),
    )
    assert fingerprint(table(items=items)) == WHOLE
    years = pl.DataFrame({"item": [1, 2], "year": [1996, None]})
    floats = years.with_columns(pl.col("year").cast(pl.Float32))
    assert fingerprint(table(items=years)) == fingerprint(table(items=floats))


def test_ids_that_are_text_are_not_numbers():
    one = table()
    text = Vocabulary(one.item_vocabulary.ids.cast(pl.String))
    assert fingerprint(dataclasses.replace(one, item_vocabulary=text)) != WHOLE

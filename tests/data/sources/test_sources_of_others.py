"""A table from a source of others is held to what a table promises."""

from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl
import pytest

from lightning_collab.config.data import DataConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources import load_ratings
from lightning_collab.errors import DataError


def of_others(gives):
    class Own(DataConfig):
        name: Literal["own"] = "own"

        def load(self):
            return gives()

    return Own(batch_size=4, cache=True)


def test_its_table_is_taken_as_it_is_and_not_from_the_cache(small_table, tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_COLLAB_CACHE", str(tmp_path))
    assert load_ratings(of_others(lambda: small_table)) is small_table
    assert list(tmp_path.iterdir()) == []


def changed(table, **columns):
    return lambda: replace(table, **columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            lambda t: {"ratings": t.ratings.astype(float)},
            r"ratings must be float32 \[600\], .*float6",
        ),
        (lambda t: {"users": t.users[:5]}, r"users must be int32 \[600\], .* int32 \[5\]"),
        (lambda t: {"items": t.items.tolist()}, r"items must be int32 \[600\]"),
        (lambda t: {"timestamps": t.users}, r"timestamps must be int64 \[600\]"),
        (lambda t: {"users": t.users - 1}, r"users must be rows 1 to 30 .* and are 0 to 29"),
        (lambda t: {"items": t.items + 1}, r"items must be rows 1 to 20 .* and are 2 to 21"),
        (lambda t: {"rating_range": (2.0, 5.0)}, r"ratings must be within .* \(2\.0, 5\.0\)"),
        (lambda t: {"ratings": t.ratings * np.float32(np.nan)}, r"ratings must be within"),
        (lambda t: {"items": np.ones_like(t.items)}, r"ratings are of an item that the same user"),
    ],
)
def test_a_table_that_breaks_its_promise_is_named(small_table, columns, message):
    with pytest.raises(DataError, match=message):
        load_ratings(of_others(changed(small_table, **columns(small_table))))


def test_something_else_than_a_table_is_named():
    frame = pl.DataFrame({"user": [1], "item": [2], "rating": [3.0]})
    with pytest.raises(DataError, match=r"data=own: Own\.load must return a RatingTable, and gave"):
        load_ratings(of_others(lambda: frame))
    empty = RatingTable.of_checked(frame.clear(), name="none", rating_range=(1.0, 5.0))
    with pytest.raises(DataError, match="a table without any rating"):
        load_ratings(of_others(lambda: empty))

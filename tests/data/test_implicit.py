"""Data without ratings: each row is one choice, and may have a weight."""

import logging
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import REPOSITORY

from lightning_collab import RatingDataModule
from lightning_collab.config.data import FrameConfig
from lightning_collab.data.metadata import history_table, metadata_table
from lightning_collab.data.rating_table import RatingTable, fingerprint, with_one_rating_each
from lightning_collab.data.sources import _checked, checked_frame, load_ratings
from lightning_collab.data.table_cache import cached_table
from lightning_collab.errors import DataError

CLICKS = {
    "user": ["a", "b", "a", "b", "a", "c"],
    "item": [1, 1, 1, 2, 2, 3],
    "time": [30, 10, 20, 50, 60, 70],
    "plays": [1.5, 2.0, 2.5, 1.0, 4.0, 0.25],
}


def rows(table):
    users = table.user_vocabulary.decode(table.users).to_list()
    items = table.item_vocabulary.decode(table.items).to_list()
    times = [None] * len(table) if table.timestamps is None else table.timestamps.tolist()
    weights = [None] * len(table) if table.weights is None else table.weights.tolist()
    return list(zip(users, items, times, weights, strict=True))


@pytest.fixture(params=["file", "frame"])
def read(request, tmp_path, run_config):
    """The table of clicks, of a file or of a frame, and its config."""

    def of_file(frame, *, rating=None, **columns):
        frame.write_csv(tmp_path / "clicks.csv")
        columns = {"rating": rating, **columns}
        typed = [f"data.columns.{k}={'null' if v is None else v}" for k, v in columns.items()]
        path = f"data.path={tmp_path / 'clicks.csv'}"
        config = run_config("data=csv", path, "data.cache=false", "loss=bpr", *typed).data
        return load_ratings(config), config

    def of_frame(frame, *, rating=None, **columns):
        return checked_frame(frame, FrameConfig(columns={"rating": rating, **columns}))

    return of_file if request.param == "file" else of_frame


def test_each_row_is_one_choice_and_repeated_ones_are_one(read, caplog):
    with caplog.at_level(logging.INFO):
        table, config = read(pl.DataFrame(CLICKS))
    assert not config.has_ratings
    assert table.implicit
    assert table.rating_range == (0.0, 1.0)
    assert table.ratings.tolist() == [1.0] * 5
    assert table.ratings.dtype == table.weights.dtype == np.float32
    # The last time of a pair, and the sum of its weights.
    assert rows(table) == [
        ("a", 1, 30, 4.0),
        ("b", 1, 10, 2.0),
        ("b", 2, 50, 1.0),
        ("a", 2, 60, 4.0),
        ("c", 3, 70, 0.25),
    ]
    (line,) = [each for each in caplog.messages if "repeat" in each]
    assert "1 of 6 interactions repeat an earlier one" in line
    assert line.endswith(
        "5 pairs are left, each with its last time, each with the sum of its weights"
    )


def test_without_times_and_weights_there_are_pairs_alone(read, caplog):
    with caplog.at_level(logging.INFO):
        table, _ = read(pl.DataFrame(CLICKS), timestamp=None, weight=None)
    assert [row[:2] for row in rows(table)] == [("b", 1), ("a", 1), ("b", 2), ("a", 2), ("c", 3)]
    assert table.timestamps is None
    assert table.weights is None
    assert any(each.endswith("5 pairs are left") for each in caplog.messages)


def test_ratings_may_have_weights_too(read):
    frame = pl.DataFrame(CLICKS)[1:].with_columns(rating=pl.Series([1.0, 2, 3, 4, 5]))
    table, config = read(frame, rating="rating")
    assert config.has_ratings
    assert not table.implicit
    assert table.ratings.tolist() == [1.0, 2, 3, 4, 5]
    assert table.weights.tolist() == CLICKS["plays"][1:]


@pytest.mark.parametrize(("bad", "said"), [(0.0, "0"), (-1.0, "-1"), (float("inf"), "inf")])
def test_a_weight_is_finite_and_above_zero(read, bad, said):
    frame = pl.DataFrame(CLICKS).with_columns(plays=pl.Series([1.5, 2, 2.5, bad, bad, 1]))
    place = r"(clicks\.csv, line 5|row 3 of the frame)"
    with pytest.raises(
        DataError, match=rf"{place}.*{said}.*not a valid weight: a finite .* \(2 su"
    ):
        read(frame, weight="plays")


def test_policies_of_several_ratings_decide_their_weights():
    frame = pl.DataFrame({"user": [1, 1, 2], "item": [1, 1, 1], "weight": [2.0, 3.0, 1.0]})
    table = RatingTable.of_checked(
        frame.with_columns(rating=pl.Series([5.0, 1.0, 4.0])), name="t", rating_range=(1.0, 5.0)
    )
    last, mean = (with_one_rating_each(table, policy) for policy in ("last", "mean"))
    assert (last.ratings.tolist(), last.weights.tolist()) == ([1.0, 4.0], [3.0, 1.0])
    assert (mean.ratings.tolist(), mean.weights.tolist()) == ([3.0, 4.0], [5.0, 1.0])
    assert table.weights.tolist() == [2.0, 3.0, 1.0]


EVENTS = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 9), st.integers(1, 9))


@given(events=st.lists(EVENTS, min_size=1, max_size=30))
def test_pairs_are_those_of_a_plain_count(events):
    names = ("user", "item", "timestamp", "weight")
    frame = pl.DataFrame(events, schema=dict.fromkeys(names, pl.Int64), orient="row")
    table = with_one_rating_each(RatingTable.of_checked(frame, name="t"), "error")
    grouped = frame.group_by("user", "item").agg(pl.col("timestamp").max(), pl.col("weight").sum())
    assert sorted(rows(table)) == sorted(grouped.select(names).rows())


IMPLICIT = RatingTable.of_checked(
    pl.DataFrame({"user": ["a", "b", "c"], "item": [1, 1, 2], "timestamp": [1, 2, 3]}), name="t"
)
WEIGHTS = np.array([1, 1, 1], dtype=np.float32)


def test_sums_tell_data_with_ratings_from_data_without():
    tables = [
        IMPLICIT,
        replace(IMPLICIT, implicit=False),
        replace(IMPLICIT, weights=WEIGHTS),
        replace(IMPLICIT, weights=WEIGHTS * 2),
        replace(IMPLICIT, implicit=False, weights=WEIGHTS),
        replace(IMPLICIT, weights=WEIGHTS, timestamps=None),
    ]
    assert len({fingerprint(table) for table in tables}) == len(tables)


@pytest.mark.parametrize("weights", [None, WEIGHTS * 3])
def test_it_comes_out_of_the_cache_as_it_was(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("LIGHTNING_COLLAB_CACHE", str(tmp_path))
    table = replace(IMPLICIT, weights=weights)
    cached_table({}, [], lambda: table)
    kept = cached_table({}, [], lambda: pytest.fail("it is parsed again"))
    assert fingerprint(kept) == fingerprint(table)
    assert kept.implicit
    assert kept.rating_range == (0.0, 1.0)
    assert (kept.weights is None) == (weights is None)
    explicit = replace(table, implicit=False)
    cached_table({"another": 1}, [], lambda: explicit)
    kept = cached_table({"another": 1}, [], lambda: pytest.fail("it is parsed again"))
    assert not kept.implicit


def test_what_a_run_keeps_of_it_are_counts():
    data = RatingDataModule.from_file(
        REPOSITORY / "docs/examples/clicks.csv",
        rating=None,
        split={"name": "user_ratio"},
        cache=False,
    )
    items = metadata_table(data, "items")
    counts = np.bincount(data.columns(data.rows.train).items)[1:]
    assert items["ratings"].head(len(counts)).to_list() == counts.tolist()
    history = history_table(data)
    assert len(history) == len(data.table)
    assert history["rating"].unique().to_list() == [1.0]
    assert history["held_out"].sum() == len(data.rows.val) + len(data.rows.test)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratings": np.array([1, 2, 1], np.float32)}, "implicit table must all be 1"),
        ({"weights": np.array([1, 2], np.float32)}, r"weights must be float32 \[3\]"),
        ({"weights": np.array([1, 0, 1], np.float32)}, "weights must be finite and above 0"),
    ],
)
def test_a_source_of_others_is_held_to_it(change, message):
    assert _checked(IMPLICIT, "load") is IMPLICIT
    with pytest.raises(DataError, match=message):
        _checked(replace(IMPLICIT, rating_range=(0.0, 9.0), **change), "load")

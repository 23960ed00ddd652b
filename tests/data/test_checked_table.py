"""Low ratings, rare users and rare items are left out."""

import logging
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab import RatingDataModule
from lightning_collab.data.checked_table import Caller, in_core, kept_rows, rated_at_least
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources import load_ratings
from lightning_collab.errors import ConfigError, DataError


def table_of(pairs, ratings=None):
    users, items = zip(*pairs, strict=True)
    ratings = [3.0] * len(pairs) if ratings is None else ratings
    frame = pl.DataFrame({"user": users, "item": items, "rating": ratings})
    return RatingTable.of_checked(frame, name="made_up", rating_range=(1.0, 5.0))


def pairs_of(table):
    users = table.user_vocabulary.decode(table.users).to_list()
    items = table.item_vocabulary.decode(table.items).to_list()
    return list(zip(users, items, strict=True))


def core_one_by_one(pairs, k):
    """The k-core by leaving out one user or item at a time."""
    left = list(pairs)
    while True:
        for side in (0, 1):
            for each in {pair[side] for pair in left}:
                if sum(pair[side] == each for pair in left) < k:
                    left = [pair for pair in left if pair[side] != each]
                    break
            else:
                continue
            break
        else:
            return left


PAIRS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, unique=True)


@given(pairs=PAIRS, k=st.integers(1, 4))
def test_the_core_is_what_is_left_one_by_one(pairs, k):
    expected = core_one_by_one(pairs, k)
    if not expected:
        with pytest.raises(DataError, match=rf"have {k} ratings or more .*data\.k_core"):
            in_core(table_of(pairs), k, Caller.COMMAND)
        return
    assert pairs_of(in_core(table_of(pairs), k, Caller.COMMAND)) == expected


def test_the_protocol_of_published_results_has_their_numbers(ml_100k, run_config, caplog):
    # RecBole's ML-100K at 3 and more; the 10-core is that of an independent count.
    config = run_config("data.min_rating=3", "data.k_core=10").data
    with caplog.at_level(logging.INFO):
        table = load_ratings(config)
    frame = pl.DataFrame({"u": ml_100k.users, "i": ml_100k.items, "r": ml_100k.ratings})
    frame = frame.filter(pl.col("r") >= 3)
    assert len(frame) == 82_520
    while True:
        few = frame.filter((pl.len().over("u") >= 10) & (pl.len().over("i") >= 10))
        if len(few) == len(frame):
            break
        frame = few
    assert len(table) == len(frame)
    assert sorted(table.ratings.tolist()) == sorted(frame["r"].to_list())
    assert table.rating_range == (1.0, 5.0)
    # The vocabularies are those of the rows that are left.
    assert len(table.user_vocabulary) - 1 == frame["u"].n_unique()
    assert len(table.item_vocabulary) - 1 == frame["i"].n_unique()
    assert table.items.max() == len(table.item_vocabulary) - 1
    said = f"ml_100k: {len(frame)} ratings of {frame['u'].n_unique()} users and"
    (line,) = [each for each in caplog.messages if "are left" in each]
    assert said in line
    assert line.endswith("are left (data.min_rating=3, data.k_core=10)")


def test_official_folds_follow_the_rows_that_are_left(ml_100k, run_config):
    table = load_ratings(run_config("data.min_rating=4", "data.k_core=5").data)
    whole = dict(zip(pairs_of(ml_100k), range(len(ml_100k)), strict=True))
    before = np.array([whole[pair] for pair in pairs_of(table)])
    assert (ml_100k.ratings[before] == table.ratings).all()
    assert (ml_100k.timestamps[before] == table.timestamps).all()
    for fold, rows in ml_100k.parts.items():
        assert set(before[table.parts[fold]]) == set(rows) & set(before)
        assert table.parts[fold].dtype == np.int32


def test_rows_that_are_all_left_are_the_table_itself(small_table, run_config):
    assert kept_rows(small_table, run_config().data, Caller.COMMAND) is small_table
    assert in_core(small_table, 1, Caller.COMMAND) is small_table
    assert rated_at_least(small_table, 0.5, Caller.COMMAND) is small_table


def test_low_ratings_are_left_out_before_several_become_one(tmp_path, run_config):
    rows = {"user": [1, 1, 2, 3], "item": [1, 1, 1, 2], "rating": [5.0, 1.0, 4.0, 2.0]}
    frame = pl.DataFrame(rows)
    frame.write_csv(tmp_path / "a.csv")
    keys = ("data.min_rating=2", "data.duplicates=last")
    config = run_config("data=csv", f"data.path={tmp_path / 'a.csv'}", "data.cache=false", *keys)
    split = {"name": "random", "test": 0.4, "val": 0}
    of_frame = RatingDataModule.from_frame(frame, min_rating=2, duplicates="last", split=split)
    for table in (load_ratings(config.data), of_frame.table):
        assert table.ratings.tolist() == [5.0, 4.0, 2.0]
        # The scale is that of the data.
        assert table.rating_range == (1.0, 5.0)


def test_a_cached_file_is_read_anew_at_another_lowest_rating(tmp_path, run_config, monkeypatch):
    monkeypatch.setenv("LIGHTNING_COLLAB_CACHE", str(tmp_path / "cache"))
    rows = {"user": [1, 2, 3, 4], "item": [1, 1, 2, 2], "rating": [1.0, 2.0, 3.0, 4.0]}
    pl.DataFrame(rows).write_csv(tmp_path / "a.csv")
    for key, left in (("data.min_rating=2", 3), ("data.min_rating=3", 2), ("data.k_core=2", None)):
        config = run_config("data=csv", f"data.path={tmp_path / 'a.csv'}", key).data
        for _ in range(2):
            if left is None:
                with pytest.raises(DataError, match=r"data\.k_core"):
                    load_ratings(config)
            else:
                assert len(load_ratings(config)) == left


def test_whoever_leaves_nothing_is_told(ml_100k, run_config):
    with pytest.raises(DataError, match=r"no rating is 6 or more \(data\.min_rating\); .* is 5"):
        load_ratings(run_config("data.min_rating=6").data)
    with pytest.raises(DataError, match=r"100000 ratings or more among each other \(data\.k_core"):
        load_ratings(run_config("data.k_core=100000").data)
    with pytest.raises(DataError, match=r"\(k_core=\)"):
        RatingDataModule.from_frame(
            pl.DataFrame({"user": [1, 2], "item": [1, 2]}), rating=None, k_core=3
        )
    with pytest.raises(ConfigError, match=r"k_core"):
        run_config("data.k_core=0")
    implicit = replace(ml_100k, implicit=True)
    with pytest.raises(DataError, match="has no ratings"):
        rated_at_least(implicit, 1.0, Caller.COMMAND)

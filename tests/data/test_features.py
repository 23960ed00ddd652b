"""Features of users, items and time: what they are made of, and what never enters them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.data.features.blocks import (
    MISSING,
    binned_block,
    category_block,
    history_block,
)
from lightning_collab.data.features.build import TimeEffect
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.errors import DataError
from lightning_collab.training.build import load_data

EVERYTHING = ("features=everything", "split.test=0.3")


def table_of(**columns):
    """12 ratings on 6 days by 4 users of 5 items, of whom more or less is known."""
    frame = pl.DataFrame(
        {
            "user": [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4],
            "item": [1, 2, 3, 2, 3, 4, 1, 3, 5, 1, 2, 5],
            "rating": [3.0, 4, 5, 1, 2, 3, 4, 4, 2, 5, 1, 3],
            "timestamp": [86_400 * day + 7 for day in (0, 0, 1, 2, 2, 40, 1, 1, 3, 70, 70, 71)],
        }
    )
    users = pl.DataFrame(
        {
            "user": [1, 2, 3, 4],
            "gender": ["M", "F", None, "F"],
            "age": [20, 30, None, 50],
            "occupation": ["artist", "artist", "doctor", "artist"],
        }
    )
    items = pl.DataFrame(
        {
            "item": [1, 2, 3, 4, 5],
            "genres": [["Drama", "War"], ["Drama"], [], None, ["War", "War"]],
            "year": [1950, 1960, 1970, 1980, 1990],
        },
        schema_overrides={"genres": pl.List(pl.String)},
    )
    known = {"user_features": users, "item_features": items, **columns}
    return RatingTable.of_checked(frame, name="known", rating_range=(1.0, 5.0), **known)


def module_of(config, table):
    return load_data(config, table)


def of_ones(block):
    return (block.matrix.toarray() > 0).astype(int).tolist()


def test_history_is_who_rated_what_scaled_by_one_over_the_root_of_the_count():
    rows, others = np.array([1, 1, 1, 2, 1], dtype=np.int32), np.array([2, 3, 1, 2, 3], np.int32)
    block = history_block("history", rows, others, row_count=4, other_ids=pl.Series([7, 8, 9]))
    a = 1 / np.sqrt(3)
    expected = [[0, 0, 0], [a, a, a], [0, 1, 0], [0, 0, 0]]
    assert block.matrix.toarray() == pytest.approx(np.array(expected))
    assert block.matrix.dtype == np.float32
    assert block.labels.to_list() == [7, 8, 9]


def test_missing_values_are_a_category_of_their_own_and_counted(caplog):
    caplog.set_level("INFO")
    block = category_block("features.users.gender", "gender", pl.Series(["M", "F", None, "F"]))
    assert block.labels.to_list() == ["F", "M", MISSING]
    assert of_ones(block) == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert "features.users.gender: no value for 1 of 4" in caplog.text


def test_a_list_gives_a_row_several_categories():
    genres = pl.Series([["Drama", "War"], ["Drama", None], [], None, ["War", "War"]])
    block = category_block("features.items.genres", "genres", genres)
    assert block.labels.to_list() == ["Drama", "War", MISSING]
    assert of_ones(block)[1:] == [[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0]]
    lengths = (block.matrix.toarray()[1:] ** 2).sum(1)
    assert lengths == pytest.approx(np.ones(5)), "each row has length 1"


def test_bins_hold_about_as_many_each_and_equal_ones_are_merged():
    block = binned_block("k", "age", pl.Series([10, 20, 30, 40, None, 50, 60, 70, 80]), 4)
    counts = np.array(of_ones(block)).sum(0)
    assert counts.tolist() == [2, 2, 2, 2, 1]
    assert block.labels.to_list()[0] == "10 to below 30"
    assert block.labels.to_list()[-2:] == ["70 and above", MISSING]
    few = binned_block("k", "age", pl.Series([1, 1, 1, 1, 1, 2]), 8)
    assert few.labels.to_list() == ["1 to below 2", "2 and above"]


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40).filter(lambda v: len(set(v)) > 1),
    st.integers(2, 9),
)
def test_every_number_is_in_one_bin_and_bins_ascend(values, bins):
    try:
        block = binned_block("k", "age", pl.Series(values), bins)
    except DataError:
        # All cuts fall on the least value: nearly all have it.
        assert np.mean(np.array(values) == min(values)) >= 1 - 1 / bins - 1 / len(values)
        return
    chosen = block.matrix.toarray()[1:].argmax(1)
    assert (block.matrix.toarray()[1:].sum(1) == 1).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(chosen[order]) >= 0).all()
    assert len(block.labels) <= bins


@pytest.mark.parametrize("values", [["a", "a"], [None, None], [[], []], [["x"], ["x"]]])
def test_one_value_tells_nothing(values):
    kinds = pl.List(pl.String) if isinstance(values[0], list) else pl.String
    with pytest.raises(DataError, match=r"all 2 have the same value.*~features\.users\.c"):
        category_block("features.users.c", "c", pl.Series(values, dtype=kinds))


def test_numbers_with_one_value_and_words_are_refused():
    with pytest.raises(DataError, match="same value"):
        binned_block("features.users.age", "age", pl.Series([3, 3, 3]), 4)
    with pytest.raises(DataError, match="kind=category"):
        binned_block("features.users.age", "age", pl.Series(["x", "y"]), 4)


def test_an_absent_column_is_an_error_or_left_out(run_config, caplog):
    table = table_of(user_features=None)
    config = run_config(*EVERYTHING, "split.val=0.1")
    caplog.set_level("INFO")
    data = module_of(config, table)
    assert [block.name for block in data.features.users] == ["history"]
    assert "features.users.gender: the data has no column 'gender'; left out" in caplog.text
    strict = run_config(*EVERYTHING, "+features.items.studio={kind: category, column: studio}")
    with pytest.raises(DataError, match=r"no column 'studio' of items; it has genres, year"):
        module_of(strict, table)


def test_effects_of_time_need_timestamps(run_config):
    table = replace(table_of(), timestamps=None)
    with pytest.raises(DataError, match=r"features\.time\.user_day needs timestamps"):
        module_of(run_config(*EVERYTHING), table)


def test_more_features_than_memory_allows(run_config, monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("M", (), {"available": 100}))
    with pytest.raises(DataError, match="more than memory allows: 2 histories"):
        module_of(run_config(*EVERYTHING), table_of())


def test_more_tables_of_features_than_memory_allows(run_config, monkeypatch):
    import psutil

    from lightning_collab.training.build import build_module

    config = run_config("features=history", "split.test=0.3")
    data = module_of(config, table_of())
    build_module(config, data)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("M", (), {"available": 100}))
    with pytest.raises(DataError, match=r"more than memory allows.*lower model\.factors"):
        build_module(config, data)


@pytest.mark.parametrize("change", ["ratings", "timestamps", "fewer"])
def test_test_rows_never_enter_a_feature(run_config, change):
    """Whatever the validation and test ratings are, all blocks and effects stay the same."""
    config = run_config("features=everything", "split.test=0.2", "split.val=0.2")
    random = np.random.default_rng(3)
    users, items = np.divmod(random.permutation(20 * 15)[:200], 15)
    days = random.integers(0, 90, 200)
    frame = pl.DataFrame(
        {"user": users, "item": items, "rating": random.integers(1, 6, 200).astype(float)}
    ).with_columns(timestamp=pl.Series(days * 86_400))
    side = {
        "user_features": pl.DataFrame(
            {"user": range(20), "gender": ["M", "F"] * 10, "age": range(20)}
        )
    }
    table = RatingTable.of_checked(frame, name="t", rating_range=(1.0, 5.0), **side)
    data = module_of(config, table)
    held_out = np.concatenate([data.rows.val, data.rows.test])
    if change == "fewer":
        # The same training rows in a table that has no others, split by nothing.
        rest = frame[np.sort(data.rows.train)]
        alone = RatingTable.of_checked(rest, name="t", rating_range=(1.0, 5.0), **side)
        other = module_of(run_config("features=everything", "split.test=0", "split.val=0"), alone)
        assert other.user_vocabulary == data.user_vocabulary
    else:
        values = getattr(table, change).copy()
        values[held_out] = values[held_out][::-1] if change == "ratings" else 86_400 * 500
        other = module_of(config, replace(table, **{change: values}))
    for side_name in ("users", "items"):
        pairs = zip(
            getattr(data.features, side_name), getattr(other.features, side_name), strict=True
        )
        for one, two in pairs:
            assert (one.matrix != two.matrix).nnz == 0
            assert one.labels.equals(two.labels)
    assert len(data.features.time) == 3
    for first, second in zip(data.features.time, other.features.time, strict=True):
        assert (first.first_day, first.periods) == (second.first_day, second.periods)
        assert first.keys.tolist() == second.keys.tolist()


def test_rows_are_those_of_the_training_vocabulary(run_config):
    config = run_config("features=everything", "split.test=0.3", "split.val=0")
    data = module_of(config, table_of())
    blocks = {block.name: block for block in data.features.items}
    train = data.columns(data.rows.train)
    history = blocks["history"].matrix.toarray() > 0
    expected = np.zeros_like(history)
    expected[train.items, train.users - 1] = True
    assert (history == expected).all()
    years = dict(zip([1, 2, 3, 4, 5], [1950, 1960, 1970, 1980, 1990], strict=True))
    labels = blocks["year"].labels.to_list()
    for row, item in enumerate(data.item_vocabulary.ids, 1):
        label = labels[blocks["year"].matrix.toarray()[row].argmax()]
        assert label.startswith(str(years[item]))


def test_a_pair_of_user_and_day_is_found_again_and_others_have_no_effect():
    rows, day = np.array([1, 1, 2, 2], np.int32), np.array([10, 12, 10, 19], np.int32)
    effect = TimeEffect.fit("user_day", "users", 2, rows, day)
    assert effect.keys.tolist() == [1 * 5, 1 * 5 + 1, 2 * 5, 2 * 5 + 4]
    assert effect.rows(rows, day).tolist() == [1, 2, 3, 4]
    assert effect.rows(np.array([1, 2]), np.array([11, 18])).tolist() == [1, 4], "same periods"
    # Unknown: a row, a period without a rating, before the first, after the last (which must not
    # be taken for the next row's), and the unknown row.
    assert effect.rows(np.array([3, 1, 1, 1, 0]), np.array([10, 14, 8, 20, 10])).sum() == 0


@given(
    training=st.lists(st.tuples(st.integers(1, 4), st.integers(100, 112)), min_size=1),
    days=st.integers(1, 5),
)
def test_a_pair_is_known_if_and_only_if_training_has_it(training, days):
    rows, day = np.array(training, np.int32).T
    effect = TimeEffect.fit("user_day", "users", days, rows, day)
    pairs = sorted({(row, (when - day.min()) // days) for row, when in training})
    # From long before the first training day to long after the last.
    asked = [(row, when) for row in range(7) for when in range(60, 160)]
    expected = [(row, (when - day.min()) // days) for row, when in asked]
    found = effect.rows(*np.array(asked).T)
    assert found.tolist() == [1 + pairs.index(p) if p in pairs else 0 for p in expected]


def test_batches_have_days_only_where_an_effect_asks_for_them(run_config):
    config = run_config(*EVERYTHING)
    batch = next(iter(module_of(config, table_of()).train_dataloader()))
    assert batch.day is not None
    assert batch.day.dtype.itemsize == 4
    assert set(batch.day.tolist()) <= {0, 1, 2, 3, 40, 70, 71}
    plain = module_of(run_config("features=history"), table_of())
    assert next(iter(plain.train_dataloader())).day is None


def test_every_column_that_says_something_is_a_block(run_config, caplog):
    caplog.set_level("INFO")
    random = np.random.default_rng(3)
    rows = 40
    items = pl.DataFrame(
        {
            "item": range(1, rows + 1),
            "title": [f"Thing {number}" for number in range(rows)],
            "colour": [("red", "blue")[number % 2] for number in range(rows)],
            "shop": ["here"] * rows,
            "price": random.random(rows),
        }
    )
    frame = pl.DataFrame({"user": np.arange(rows) % 7, "item": range(1, rows + 1), "rating": 3.0})
    frame = frame.with_columns(rating=pl.Series(random.integers(1, 6, rows).astype(float)))
    table = RatingTable.of_checked(frame, name="shop", rating_range=(1.0, 5.0), item_features=items)
    config = run_config("features=columns", "split.val=0", "split.test=0", "callbacks.report=null")
    data = module_of(config, table)
    assert [block.name for block in data.features.items] == [
        *("history", "columns:colour", "columns:price")
    ]
    assert [block.name for block in data.features.users] == ["history"]
    assert "features.items.columns: colour (category), price (binned); left out" in caplog.text
    assert "nearly everywhere: title, shop" in caplog.text
    assert "features.users.columns: the data has no table of users; left out" in caplog.text
    words = "+features.items.words={kind: text, column: title, hashes: 8}"
    number = "+features.items.cost={kind: number, column: price}"
    config = run_config("split.val=0", "split.test=0", words, number)
    blocks = {block.name: block for block in module_of(config, table).features.items}
    assert blocks["words"].matrix.shape == (rows + 1, 8)
    prices = items["price"].to_numpy()
    np.testing.assert_allclose(
        blocks["cost"].matrix.toarray()[1:, 0], (prices - prices.mean()) / prices.std(), rtol=1e-5
    )

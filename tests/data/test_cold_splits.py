"""Splits that hold out all ratings of some items, or of some users."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_tables import table_of, tables

from lightning_collab.config.split import ColdItemsConfig, ColdUsersConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits import split_rows
from lightning_collab.errors import DataError

CONFIGS = {"items": ColdItemsConfig, "users": ColdUsersConfig}
SIDES = pytest.mark.parametrize("side", CONFIGS)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(("side", "count", "of"), [("items", 168, 1682), ("users", 94, 943)])
def test_a_share_of_the_ids_is_held_out_with_all_its_ratings(ml_100k, run_config, side, count, of):
    rows = split_rows(ml_100k, run_config(f"split=cold_{side}").split)
    ids = getattr(ml_100k, side)
    held_out = set(ids[rows.test])
    assert (len(held_out), len(set(ids))) == (count, of)
    assert not held_out & set(ids[np.r_[rows.train, rows.val]])
    assert len(rows.val) == round(0.1 * (100_000 - len(rows.test)))
    assert sorted(np.r_[rows.train, rows.val, rows.test]) == list(range(100_000))


@SIDES
@given(table=tables(), share=st.floats(0.01, 0.99), seed=SEEDS)
def test_no_id_is_on_both_sides_and_their_number_is_the_share(side, table, share, seed):
    ids = getattr(table, side)
    there = len(set(ids))
    count = round(share * there)
    config = CONFIGS[side](share=share, val=0.0, seed=seed)
    if there < 2 or not 0 < count < there:
        with pytest.raises(DataError, match=rf"split[.=].* {side} "):
            split_rows(table, config)
        return
    rows = split_rows(table, config)
    held_out = set(ids[rows.test])
    assert len(held_out) == count
    assert not held_out & set(ids[rows.train])
    assert sorted(np.r_[rows.train, rows.test]) == list(range(len(table)))


@SIDES
@given(table=tables(), folds=st.integers(2, 4), seed=SEEDS)
def test_folds_deal_the_ids_evenly_and_hold_out_each_rating_once(side, table, folds, seed):
    ids = getattr(table, side)
    there = len(set(ids))
    configs = [
        CONFIGS[side](folds=folds, fold=fold, val=0.0, seed=seed) for fold in range(1, folds + 1)
    ]
    if there < folds:
        with pytest.raises(DataError, match=rf" {side} "):
            split_rows(table, configs[0])
        return
    tested = [split_rows(table, config).test for config in configs]
    assert sorted(np.concatenate(tested)) == list(range(len(table)))
    sizes = [len(set(ids[rows])) for rows in tested]
    assert sum(sizes) == there
    assert max(sizes) - min(sizes) <= 1


def held_out(users, items, order, config):
    """The raw ids that are held out, of pairs in an order."""
    frame = pl.DataFrame({"user": users[order], "item": items[order], "rating": [3.0] * len(order)})
    table = RatingTable.of_checked(frame, name="made_up", rating_range=(1.0, 5.0))
    vocabulary = table.item_vocabulary if config.side == "items" else table.user_vocabulary
    rows = np.unique(getattr(table, config.side)[split_rows(table, config).test])
    return vocabulary.decode(rows).to_list()


@SIDES
@given(seed=SEEDS, draws=st.integers(0, 2**32 - 1), share=st.sampled_from([0.2, 0.3, 0.5]))
def test_which_ids_are_held_out_is_a_matter_of_ids_and_seed(side, seed, draws, share):
    # Text sorts otherwise than the numbers in it, and than it comes.
    users = np.array([f"u{number}" for number in np.repeat(np.arange(12), 12)])
    items = np.array([f"i{number}" for number in np.tile(np.arange(12), 12)])
    config = CONFIGS[side](share=share, seed=seed)
    random = np.random.default_rng(draws)
    one = held_out(users, items, np.arange(144), config)
    assert one == held_out(users, items, random.permutation(144), config)
    # Fewer ratings, but all ids: those of the diagonal have each of them once.
    fewer = np.union1d(np.arange(12) * 13, random.choice(144, 40))
    assert one == held_out(users, items, random.permutation(fewer), config)
    assert one == held_out(users, items, fewer, config.model_copy(update={"val": 0.4}))


@SIDES
def test_another_seed_holds_out_other_ids(ml_100k, side):
    ids = getattr(ml_100k, side)
    one, two = (
        set(ids[split_rows(ml_100k, CONFIGS[side](seed=seed)).test].tolist()) for seed in (1, 2)
    )
    assert len(one) == len(two)
    # Two draws of a tenth have about a tenth in common.
    assert len(one & two) < 0.3 * len(one)


@SIDES
def test_the_validation_rows_are_drawn_at_random_out_of_the_others(ml_100k, side):
    rows = split_rows(ml_100k, CONFIGS[side](val=0.2, folds=2))
    rest = np.sort(np.r_[rows.train, rows.val])
    assert len(rows.val) == round(0.2 * len(rest))
    # All over the file, and not a stretch of it.
    places = np.searchsorted(rest, rows.val) / len(rest)
    assert abs(places.mean() - 0.5) < 0.01
    assert places.std() == pytest.approx(12**-0.5, rel=0.02)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("split.share=0.01",),
            r"split\.share=0\.01 of the 10 items of made_up leaves none to test on; .* 0\.1 or",
        ),
        (
            ("split.share=0.99",),
            r"split\.share=0\.99 of the 10 items of made_up leaves none to train on; lower",
        ),
        (("split.folds=11",), r"split\.folds=11 of the 10 items .*split\.folds to 10 or less"),
    ],
)
def test_a_part_without_ids_is_refused(run_config, overrides, message):
    table = table_of([1] * 10, range(1, 11), [5] * 10)
    with pytest.raises(DataError, match=message):
        split_rows(table, run_config("split=cold_items", *overrides).split)


def test_the_share_that_is_advised_is_enough():
    table = table_of([1] * 1_682, range(1, 1_683), [5] * 1_682)
    with pytest.raises(DataError, match=r"set split\.share to 0\.00059 or more"):
        split_rows(table, ColdItemsConfig(share=1e-5))
    assert len(split_rows(table, ColdItemsConfig(share=0.00059)).test) == 1


@pytest.mark.parametrize("folds", [None, 2])
def test_a_single_id_cannot_be_both_tested_and_trained_on(folds):
    table = table_of([1] * 10, range(1, 11), [5] * 10)
    with pytest.raises(DataError, match=r"split=cold_users needs two users .*ratings of 1; choose"):
        split_rows(table, ColdUsersConfig(share=0.5, folds=folds))

"""Every way to split, on real and on made-up ratings."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_tables import table_of, tables

from lightning_collab.config.split import (
    ColdItemsConfig,
    ColdUsersConfig,
    KFoldSplitConfig,
    LeaveOneOutConfig,
    LectureSplitConfig,
    OfficialFoldConfig,
    PredefinedSplitConfig,
    RandomSplitConfig,
    TemporalSplitConfig,
    UserRatioConfig,
    UserStratifiedConfig,
)
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources.ml_large import EDITIONS
from lightning_collab.data.sources.movielens import load_release
from lightning_collab.data.splits import permutation, split_rows
from lightning_collab.errors import ConfigError, DataError


@pytest.mark.parametrize("rows", [0, 1, 2, 1000, 12_345])
def test_the_random_order_is_that_of_numpys_permutation(rows):
    order = permutation(rows, 42)
    assert order.tolist() == np.random.RandomState(42).permutation(rows).tolist()
    assert order.dtype == np.int32


def test_the_lectures_rows_are_the_lectures(shared_data, run_config):
    table = load_release(EDITIONS[2016], shared_data)
    rows = split_rows(table, run_config("data=ml_latest_small", "split=lecture").split)
    # fastai 0.7, get_cv_idxs: np.random.seed(42); np.random.permutation(n)[:int(0.2 * n)]
    np.random.seed(42)
    expected = np.random.permutation(100_004)[: int(0.2 * 100_004)]
    assert rows.val.tolist() == expected.tolist()
    assert len(rows.test) == 0
    assert len(rows.train) == 80_004


def test_the_lectures_rows_are_the_test_part_when_there_is_another_to_tune_on(
    small_table, run_config
):
    without = split_rows(small_table, run_config("split=lecture").split)
    with_val = split_rows(small_table, run_config("split=lecture", "split.val=0.1").split)
    assert with_val.test.tolist() == without.val.tolist()
    assert sorted([*with_val.train, *with_val.val]) == sorted(without.train)
    assert len(with_val.val) == round(0.1 * len(without.train))


@pytest.mark.parametrize("fold", ["u1", "u2", "u3", "u4", "u5", "ua", "ub"])
def test_an_official_fold_is_what_its_files_say(ml_100k, shared_data, run_config, fold):
    config = run_config("split=official_fold", f"split.fold={fold}", "split.val=0.05").split
    rows = split_rows(ml_100k, config)
    for part, numbers in (("test", rows.test), ("base", np.r_[rows.train, rows.val])):
        lines = (shared_data / "ml-100k" / f"{fold}.{part}").read_text().split("\n")[:-1]
        expected = {tuple(map(int, line.split("\t"))) for line in lines}
        users = ml_100k.user_vocabulary.decode(ml_100k.users[numbers]).to_list()
        items = ml_100k.item_vocabulary.decode(ml_100k.items[numbers]).to_list()
        columns = (users, items, ml_100k.ratings[numbers], ml_100k.timestamps[numbers])
        assert set(zip(*columns, strict=True)) == expected
        assert len(numbers) == len(lines)
    assert len(rows.val) == round(0.05 * (len(ml_100k) - len(rows.test)))


@pytest.mark.parametrize(("fold", "val_fold"), [("u1", "u2"), ("u3", "u1"), ("ua", "ub")])
def test_another_fold_validates_without_a_row_of_the_test_part(ml_100k, run_config, fold, val_fold):
    overrides = (f"split.fold={fold}", "split.val=0", f"split.val_fold={val_fold}")
    rows = split_rows(ml_100k, run_config("split=official_fold", *overrides).split)
    test, other = (set(ml_100k.parts[name].tolist()) for name in (fold, val_fold))
    assert set(rows.test.tolist()) == test
    assert set(rows.val.tolist()) == other - test
    assert set(rows.train.tolist()) == set(range(len(ml_100k))) - test - other


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["split.val_fold=u2"], "two validation parts"),
        (["split.val=0", "split.val_fold=u1"], "the same fold"),
        (["split.val=0", "split.val_fold=u9"], r"split\.val_fold"),
    ],
)
def test_a_validation_fold_must_be_another_and_alone(overrides, message, run_config):
    with pytest.raises(ConfigError, match=message):
        run_config("split=official_fold", *overrides)


def test_a_source_without_official_folds_is_refused_before_it_is_read(run_config):
    with pytest.raises(ConfigError, match=r"split\.fold=u1: .*MovieLens 100K"):
        run_config("data=ml_latest_small", "split=official_fold")


def test_a_copy_without_the_fold_says_where_folds_come_from(small_table, run_config):
    with pytest.raises(DataError, match=r"split\.fold=u1: .* has none; .*grouplens\.org"):
        split_rows(small_table, run_config("split=official_fold").split)


def test_a_fold_of_which_no_row_is_left_is_named(run_config):
    table = table_of([1, 1, 2], [1, 2, 1], [0] * 3, {"u1": np.array([], dtype=np.int32)})
    with pytest.raises(DataError, match=r"split\.fold=u1: data\.min_rating and data\.k_core"):
        split_rows(table, run_config("split=official_fold").split)


SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.5])
SEEDS = st.integers(0, 2**32 - 1)
CONFIGS = st.one_of(
    st.builds(RandomSplitConfig, name=st.just("random"), test=SHARES, val=SHARES, seed=SEEDS),
    st.builds(
        KFoldSplitConfig,
        name=st.just("k_fold"),
        folds=st.just(3),
        fold=st.integers(1, 3),
        val=SHARES,
        seed=SEEDS,
    ),
    st.builds(LectureSplitConfig, name=st.just("lecture"), val=SHARES, seed=SEEDS),
    st.builds(
        OfficialFoldConfig,
        name=st.just("official_fold"),
        fold=st.just("u1"),
        val=SHARES,
        seed=SEEDS,
    ),
    st.builds(
        TemporalSplitConfig,
        name=st.just("temporal"),
        by=st.sampled_from(["date", "user"]),
        test=SHARES,
        val=SHARES,
        test_from=st.none(),
        val_from=st.none(),
        seed=SEEDS,
    ),
    st.builds(
        LeaveOneOutConfig,
        name=st.just("leave_one_out"),
        pick=st.sampled_from(["last", "random"]),
        val=st.one_of(st.just("one"), SHARES),
        seed=SEEDS,
    ),
    st.builds(
        UserStratifiedConfig, name=st.just("user_stratified"), test=SHARES, val=SHARES, seed=SEEDS
    ),
    st.builds(
        UserRatioConfig,
        name=st.just("user_ratio"),
        test=SHARES,
        val=st.sampled_from([0.0, 0.1, 0.25]),
        seed=SEEDS,
    ),
    *(
        st.builds(
            cold,
            share=st.sampled_from([0.1, 0.5, 0.9]),
            folds=st.sampled_from([None, 3]),
            val=SHARES,
            seed=SEEDS,
        )
        for cold in (ColdItemsConfig, ColdUsersConfig)
    ),
    st.builds(
        PredefinedSplitConfig,
        name=st.just("predefined"),
        val_part=st.none(),
        test_part=st.just("test"),
        val=SHARES,
        seed=SEEDS,
    ),
)


REFUSALS = ("no rating at all", "to train on", "without any", "none to test on")


@given(table=tables(), config=CONFIGS)
def test_every_split_is_disjoint_whole_and_the_same_again(table, config):
    try:
        rows = split_rows(table, config)
    except DataError as refused:
        message = str(refused)
        rows = None
    if rows is None:
        assert any(each in message for each in REFUSALS)
        return
    everything = np.concatenate([rows.train, rows.val, rows.test])
    assert sorted(everything.tolist()) == list(range(len(table)))
    assert len(rows.train) > 0
    assert (len(rows.val) > 0) == config.has_val
    assert (len(rows.test) > 0) == has_test(config)
    again = split_rows(table, config)
    for part in ("train", "val", "test"):
        assert getattr(rows, part).tolist() == getattr(again, part).tolist()
        assert getattr(rows, part).dtype == np.int32


def has_test(config):
    if config.name == "lecture":
        return config.val > 0
    return getattr(config, "test", 1) != 0


@pytest.mark.parametrize(
    "overrides",
    [
        ("split=random",),
        ("split=user_stratified",),
        ("split=user_ratio",),
        ("split=leave_one_out", "split.pick=random"),
        ("split=official_fold",),
    ],
)
def test_another_seed_draws_another_split(ml_100k, run_config, overrides):
    one = split_rows(ml_100k, run_config(*overrides, "split.seed=1").split)
    two = split_rows(ml_100k, run_config(*overrides, "split.seed=2").split)
    assert set(one.val) != set(two.val)


def test_no_training_rating_is_later_than_a_tested_one(ml_100k, run_config):
    rows = split_rows(ml_100k, run_config("split=temporal").split)
    times = ml_100k.timestamps
    assert times[rows.train].max() <= times[rows.val].min()
    assert times[rows.val].max() <= times[rows.test].min()
    assert (len(rows.test), len(rows.val)) == (10_000, 10_000)


def test_no_training_rating_of_a_user_is_later_than_a_tested_one(ml_100k, run_config):
    config = run_config("split=temporal", "split.by=user", "split.test=0.2").split
    rows = split_rows(ml_100k, config)
    frame = pl.DataFrame({"user": ml_100k.users, "time": ml_100k.timestamps})
    test, train = frame[rows.test], frame[np.r_[rows.train, rows.val]]
    first = test.group_by("user").agg(pl.col("time").min().alias("first"), pl.len().alias("tested"))
    last = train.group_by("user").agg(pl.col("time").max().alias("last"), pl.len().alias("left"))
    both = first.join(last, on="user", how="full", coalesce=True)
    assert len(both) == 943
    assert (both["last"] <= both["first"]).all()
    share = both["tested"] / (both["tested"] + both["left"])
    assert share.min() >= 0.15
    assert share.max() <= 0.25


def test_the_test_part_begins_on_a_day(ml_100k, run_config):
    config = run_config(
        "split=temporal", "split.test_from=1998-03-01", "split.val_from=1998-02-01"
    ).split
    rows = split_rows(ml_100k, config)
    march = datetime(1998, 3, 1, tzinfo=UTC).timestamp()
    february = datetime(1998, 2, 1, tzinfo=UTC).timestamp()
    times = ml_100k.timestamps
    assert len(rows.test) == int((times >= march).sum())
    assert len(rows.val) == int(((times >= february) & (times < march)).sum())
    assert times[rows.train].max() < february


@pytest.mark.parametrize("day", ["2020-01-01", "1990-01-01"])
def test_a_day_that_leaves_nothing_names_the_days_there_are(ml_100k, run_config, day):
    config = run_config("split=temporal", f"split.test_from={day}").split
    with pytest.raises(DataError, match=rf"split\.test_from={day} .*1997-09-20 to 1998-04-22"):
        split_rows(ml_100k, config)


def test_ratings_of_the_same_second_stay_in_file_order(run_config):
    table = table_of([1] * 10, range(1, 11), [5] * 10)
    rows = split_rows(table, run_config("split=temporal", "split.test=0.2", "split.val=0").split)
    assert sorted(rows.test) == [8, 9]


def test_the_last_rating_of_each_user_is_left_out(ml_100k, run_config):
    rows = split_rows(ml_100k, run_config("split=leave_one_out").split)
    assert len(rows.test) == len(rows.val) == 943
    for part in (rows.test, rows.val):
        assert np.unique(ml_100k.users[part]).tolist() == list(range(1, 944))
    last = np.zeros(944, dtype=np.int64)
    np.maximum.at(last, ml_100k.users, ml_100k.timestamps)
    assert (ml_100k.timestamps[rows.test] == last[ml_100k.users[rows.test]]).all()


def test_a_users_only_rating_trains(run_config):
    table = table_of([1, 2, 2, 3, 3, 3], range(1, 7), range(6))
    rows = split_rows(table, run_config("split=leave_one_out").split)
    assert (sorted(rows.train), sorted(rows.val), sorted(rows.test)) == ([0, 1, 3], [4], [2, 5])


def test_each_user_has_the_share(ml_100k, run_config):
    config = run_config("split=user_stratified", "split.test=0.2", "split.val=0.25").split
    rows = split_rows(ml_100k, config)
    whole = np.bincount(ml_100k.users)
    test = np.bincount(ml_100k.users[rows.test], minlength=944)
    val = np.bincount(ml_100k.users[rows.val], minlength=944)
    assert test.tolist() == np.rint(0.2 * whole).astype(int).tolist()
    assert val.tolist() == np.rint(0.25 * (whole - test)).astype(int).tolist()


def parts_by_recbole(rows, ratios):
    """The sizes of the parts of one user: `Dataset._calcu_split_ids` of RecBole, as it is told."""
    sizes = [int(ratio * rows) for ratio in ratios]
    sizes[0] = rows - sum(sizes[1:])
    for back in range(1, len(ratios)):
        if sizes[0] <= 1:
            break
        if 0 < ratios[-back] * rows < 1:
            sizes[-back] += 1
            sizes[0] -= 1
    return sizes


@pytest.mark.parametrize(
    ("val", "test"), [(0.1, 0.1), (0.0, 0.3), (0.3, 0.0), (0.2, 0.35), (0.1, 0.6)]
)
def test_the_parts_of_a_user_are_as_large_as_recboles(run_config, val, test):
    rows_of_users = [1, 2, 3, 4, 5, 9, 10, 11, 19, 20, 29, 30, 70, 100, 1_000]
    users = np.repeat(np.arange(1, len(rows_of_users) + 1), rows_of_users)
    users = users[np.random.default_rng(0).permutation(len(users))]
    table = table_of(users.tolist(), range(len(users)), [0] * len(users))
    overrides = ("split=user_ratio", f"split.val={val}", f"split.test={test}")
    rows = split_rows(table, run_config(*overrides).split)
    sizes = [
        np.bincount(table.users[part], minlength=len(rows_of_users) + 1)[1:].tolist()
        for part in (rows.train, rows.val, rows.test)
    ]
    ratios = [1 - val - test, val, test]
    expected = [parts_by_recbole(each, ratios) for each in rows_of_users]
    assert list(map(list, zip(*sizes, strict=True))) == expected


def test_which_rows_of_a_user_are_for_what_is_drawn(ml_100k, run_config):
    rows = split_rows(ml_100k, run_config("split=user_ratio").split)
    # Cut in the order of the file, a user's train part would lie before the others, not among them.
    places = np.empty(len(ml_100k))
    by_user = np.argsort(ml_100k.users, kind="stable")
    counts = np.bincount(ml_100k.users)
    first = np.cumsum(counts) - counts
    users = ml_100k.users[by_user]
    places[by_user] = (np.arange(len(ml_100k)) - first[users] + 0.5) / counts[users]
    for part in (rows.train, rows.val, rows.test):
        assert abs(places[part].mean() - 0.5) < 0.01


def test_the_given_parts_are_taken_as_they_are():
    parts = {"test": np.array([1, 3]), "val": np.array([0])}
    table = table_of([1, 1, 2, 2, 3], range(1, 6), range(5), parts)
    config = {"name": "predefined", "seed": 42, "test_part": "test"}
    rows = split_rows(table, PredefinedSplitConfig(**config, val_part="val", val=0.0))
    assert (rows.train.tolist(), rows.val.tolist(), rows.test.tolist()) == ([2, 4], [0], [1, 3])
    rows = split_rows(table, PredefinedSplitConfig(**config, val_part=None, val=0.4))
    assert (len(rows.val), rows.test.tolist()) == (1, [1, 3])
    with pytest.raises(DataError, match=r"split\.val_part=dev: .*it has test, val"):
        split_rows(table, PredefinedSplitConfig(**config, val_part="dev", val=0.0))


@pytest.mark.parametrize(
    "overrides",
    [
        ("split=random", "split.test=1e-6"),
        ("split=random", "split.val=1e-6"),
        ("split=temporal", "split.test=1e-6"),
        ("split=temporal", "split.by=user", "split.val=1e-6"),
        ("split=user_stratified", "split.test=1e-6"),
        ("split=official_fold", "split.val=1e-6"),
        ("split=lecture", "split.val=1e-6"),
    ],
)
def test_a_share_above_zero_of_no_rows_is_an_error(ml_100k, run_config, overrides):
    key = overrides[-1].split("=")[0]
    with pytest.raises(DataError, match=rf"{key}=1e-06 of \d+ ratings is no rating"):
        split_rows(ml_100k, run_config(*overrides).split)


def test_the_folds_are_disjoint_and_together_all_rows(ml_100k, run_config):
    overrides = ("split=k_fold", "split.folds=7", "split.val=0.1")
    folds = [
        split_rows(ml_100k, run_config(*overrides, f"split.fold={fold}").split)
        for fold in range(1, 8)
    ]
    assert sorted(np.concatenate([rows.test for rows in folds])) == list(range(100_000))
    assert {len(rows.test) for rows in folds} <= {100_000 // 7, 100_000 // 7 + 1}


def test_each_rating_may_be_a_fold_of_its_own(small_table, run_config):
    ratings = len(small_table)
    overrides = ("split=k_fold", f"split.folds={ratings}", "split.val=0")
    last = split_rows(small_table, run_config(*overrides, f"split.fold={ratings}").split)
    assert (len(last.test), len(last.train)) == (1, ratings - 1)
    one_more = run_config(*overrides, f"split.folds={ratings + 1}").split
    with pytest.raises(DataError, match=f"split.folds={ratings + 1} of {ratings} ratings"):
        split_rows(small_table, one_more)


def test_a_split_of_millions_keeps_its_rows_in_32_bits(run_config):
    # 12 bytes a rating in memory leave no room for row numbers of 8.
    order = permutation(1_000_000, 1)
    assert order.nbytes == 4_000_000


COLD_CONFIGS = {"items": ColdItemsConfig, "users": ColdUsersConfig}
SIDES = pytest.mark.parametrize("side", COLD_CONFIGS)


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
    config = COLD_CONFIGS[side](share=share, val=0.0, seed=seed)
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
        COLD_CONFIGS[side](folds=folds, fold=fold, val=0.0, seed=seed)
        for fold in range(1, folds + 1)
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
    config = COLD_CONFIGS[side](share=share, seed=seed)
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
        set(ids[split_rows(ml_100k, COLD_CONFIGS[side](seed=seed)).test].tolist())
        for seed in (1, 2)
    )
    assert len(one) == len(two)
    # Two draws of a tenth have about a tenth in common.
    assert len(one & two) < 0.3 * len(one)


@SIDES
def test_the_validation_rows_are_drawn_at_random_out_of_the_others(ml_100k, side):
    rows = split_rows(ml_100k, COLD_CONFIGS[side](val=0.2, folds=2))
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

"""Every way to split, on real and on made-up ratings."""

import numpy as np
import pytest

from lightning_collab.data.sources import ml_latest_small
from lightning_collab.data.splits import split_rows
from lightning_collab.data.splits.split_rows import permutation
from lightning_collab.errors import ConfigError, DataError


@pytest.mark.parametrize("rows", [0, 1, 2, 1000, 12_345])
def test_the_random_order_is_that_of_numpys_permutation(rows):
    order = permutation(rows, 42)
    assert order.tolist() == np.random.RandomState(42).permutation(rows).tolist()
    assert order.dtype == np.int32


def test_the_lectures_rows_are_the_lectures(shared_data, run_config):
    table = ml_latest_small.load(shared_data, 2016)
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


def test_a_source_without_official_folds_is_refused_before_it_is_read(run_config):
    with pytest.raises(ConfigError, match=r"split\.fold=u1: .*MovieLens 100K"):
        run_config("data=ml_latest_small", "split=official_fold")


def test_a_copy_without_the_fold_says_where_folds_come_from(small_table, run_config):
    with pytest.raises(DataError, match=r"split\.fold=u1: .* has none; .*grouplens\.org"):
        split_rows(small_table, run_config("split=official_fold").split)

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.models import scoring_kernels
from lightning_collab.models.scoring_kernels import best_unseen, pair_products


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(scoring_kernels, "PAIRS_AT_A_TIME", 7)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_products_are_those_of_numpy(two_threads):
    random = np.random.default_rng(0)
    users, items = (random.normal(size=(n, 13)).astype(np.float32) for n in (5, 8))
    rows = [random.integers(0, n, 100, dtype=np.int32) for n in (5, 8)]
    found = pair_products(users, items, *rows)
    expected = (users[rows[0]].astype(np.float64) * items[rows[1]]).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32


def test_no_pairs_have_no_products():
    vectors, rows = np.ones((2, 3), np.float32), np.empty(0, np.int32)
    assert len(pair_products(vectors, vectors, rows, rows)) == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
def test_the_best_are_those_of_a_sort(seed, rows, columns, k):
    check_against_a_sort(np.random.default_rng(seed), rows, columns, k, values=4)


@pytest.mark.parametrize("columns", [511, 512, 513, 1100])
@pytest.mark.parametrize("k", [1, 20, 256, 257])
@pytest.mark.parametrize("values", [3, 300, 10**6])
def test_so_are_those_of_many_columns(columns, k, values):
    check_against_a_sort(np.random.default_rng(columns), 3, columns, k, values)


def check_against_a_sort(random, rows, columns, k, values):
    # Of few values there are ties.
    scores = random.integers(-values, values, (rows, columns)).astype(np.float32)
    seen = [np.flatnonzero(random.random(columns) < 0.3).astype(np.int32) for _ in range(rows)]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in seen])]).astype(np.int64)
    places = random.permutation(columns).astype(np.int32)
    for chosen in (None, places):
        found, highest = best_unseen(scores.copy(), starts, np.concatenate(seen), k, chosen)
        order = np.arange(columns) if chosen is None else chosen
        for row in range(rows):
            left = np.setdiff1d(np.arange(columns), seen[row]).tolist()
            best = sorted(left, key=lambda column: (-scores[row, column], order[column]))[:k]
            assert found[row].tolist() == best + [-1] * (k - len(best))
            assert highest[row, : len(best)].tolist() == scores[row, best].tolist()


@pytest.mark.parametrize("ascending", [False, True])
def test_few_numbers_among_many_columns(ascending):
    """Fewer than k are left, at either end, where whole groups of columns have none."""
    scores = np.full((1, 2000), -np.inf, dtype=np.float32)
    scores[0, ::7] = np.nan
    own = [1990, 1991, 1999] if ascending else [1, 2, 3]
    scores[0, own] = [1, np.inf, -3e38]
    found, _ = best_unseen(scores, np.zeros(2, np.int64), np.empty(0, np.int32), 5)
    assert found[0].tolist() == [own[1], own[0], own[2], -1, -1]


def test_blocks_of_rows_are_the_rows(two_threads):
    scores = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    starts, seen = np.zeros(21, np.int64), np.empty(0, np.int32)
    found, _ = best_unseen(scores.copy(), starts, seen, 5)
    assert np.array_equal(found, np.argsort(-scores, axis=1))


def test_what_is_no_number_is_never_the_best():
    scores = np.array([[np.nan, 1, -np.inf, 2]], dtype=np.float32)
    found, _ = best_unseen(scores, np.zeros(2, np.int64), np.empty(0, np.int32), 4)
    assert found[0].tolist() == [3, 1, -1, -1]

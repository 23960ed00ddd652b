"""Items that a user did not choose: none of the chosen, the rest alike, each named by its place."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.data.draws import draw_others, popularity
from lightning_collab.data.ranking_batches import Choices

MASK = (1 << 64) - 1


def splitmix(state: int) -> int:
    """As published, on Python's whole numbers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def bits(key: int, place: int, attempt: int) -> int:
    golden = 0x9E3779B97F4A7C15
    state = splitmix((key + golden * (place + 1)) & MASK)
    return splitmix((state + golden * (attempt + 1)) & MASK)


def choices_of(rows: list[list[int]], item_rows: int) -> Choices:
    users = np.repeat(np.arange(1, len(rows) + 1), [len(each) for each in rows])
    items = np.array([item for each in rows for item in each])
    return Choices.of(
        users.astype(np.int32), items.astype(np.int32), user_rows=len(rows) + 1, item_rows=item_rows
    )


def test_pairs_in_any_order_become_sorted_rows():
    users, items = np.array([2, 1, 2, 1], np.int32), np.array([5, 3, 1, 2], np.int32)
    weights = np.array([0.5, 1.0, 2.0, 4.0], np.float32)
    found = Choices.of(users, items, user_rows=3, item_rows=6, weights=weights)
    assert found.of_user(0).tolist() == []
    assert found.of_user(1).tolist() == [2, 3]
    assert found.of_user(2).tolist() == [1, 5]
    assert found.weights is not None
    assert found.weights.tolist() == [4.0, 1.0, 2.0, 0.5]
    assert found.users.tolist() == [1, 1, 2, 2]
    assert found.item_counts.tolist() == [0, 1, 1, 1, 0, 1]


@given(
    rows=st.lists(st.lists(st.integers(1, 9), unique=True, max_size=8), min_size=1, max_size=4),
    key=st.integers(0, 2**63 - 1),
    first=st.integers(0, 2**40),
)
def test_a_draw_is_the_item_that_the_formula_names(rows, key, first):
    choices = choices_of(rows, 10)
    users = np.arange(1, len(rows) + 1, dtype=np.int32)
    drawn = draw_others(choices, users, key, first, 3)
    for row, own in enumerate(rows):
        left = [item for item in range(1, 10) if item not in own]
        for n in range(3):
            place = (first + row) * 3 + n
            expected = left[((bits(key, place, 0) >> 32) * len(left)) >> 32]
            assert drawn[row, n] == expected


def test_all_items_that_are_left_come_alike():
    choices = choices_of([[1, 4, 5]], 9)
    users = np.ones(20_000, np.int32)
    drawn = draw_others(choices, users, 7, 0, 2)
    counts = np.bincount(drawn.ravel(), minlength=9)
    assert counts[[0, 1, 4, 5]].sum() == 0
    np.testing.assert_allclose(counts[[2, 3, 6, 7, 8]] / 40_000, 0.2, atol=0.01)


def test_by_popularity_the_chances_are_those_of_the_counts():
    choices = choices_of([[2]], 5)
    steps = popularity(np.array([0, 1, 50, 4, 9]), 0.5)
    drawn = draw_others(choices, np.ones(40_000, np.int32), 3, 0, 1, steps)
    counts = np.bincount(drawn.ravel(), minlength=5) / 40_000
    np.testing.assert_allclose(counts, [0, 1 / 6, 0, 2 / 6, 3 / 6], atol=0.01)


def test_where_hardly_any_item_is_left_it_is_found():
    choices = choices_of([list(range(1, 1000))], 1001)
    steps = popularity(np.r_[0, np.full(999, 10**6), 1], 1.0)
    for by in (None, steps):
        assert (draw_others(choices, np.ones(50, np.int32), 1, 0, 1, by) == 1000).all()


def test_draws_do_not_depend_on_how_an_epoch_is_cut():
    choices = choices_of([[1, 2], [3], [4, 5, 6]], 20)
    users = np.array([1, 2, 3, 1, 2, 3], np.int32)
    whole = draw_others(choices, users, 11, 0, 4)
    parts = [draw_others(choices, users[s], 11, s.start, 4) for s in (slice(0, 2), slice(2, 6))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert (whole != draw_others(choices, users, 12, 0, 4)).any()

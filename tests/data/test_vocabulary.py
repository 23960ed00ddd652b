import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.data.vocabulary import UNKNOWN_ROW, Vocabulary

raw_ids = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=1), st.lists(st.text(), min_size=1)
)


@given(raw_ids)
def test_every_id_comes_back_and_has_a_row_of_its_own(ids):
    vocabulary = Vocabulary.of(pl.Series(ids))
    rows = vocabulary.encode(ids)
    assert vocabulary.decode(rows).to_list() == ids
    assert set(rows) == set(range(1, len(set(ids)) + 1))
    assert len(vocabulary) == len(set(ids)) + 1


@given(raw_ids, st.data())
def test_an_id_that_was_never_seen_has_the_unknown_row(ids, data):
    vocabulary = Vocabulary.of(pl.Series(ids))
    others = st.integers() if isinstance(ids[0], int) else st.text()
    stranger = data.draw(others.filter(lambda raw: raw not in ids and abs_below(raw)))
    assert vocabulary.encode([stranger]).tolist() == [UNKNOWN_ROW]
    assert vocabulary.decode(np.array([UNKNOWN_ROW])).to_list() == [None]


def abs_below(raw):
    return isinstance(raw, str) or abs(raw) < 2**62


def test_rows_follow_the_order_of_the_ids():
    vocabulary = Vocabulary.of(pl.Series([30, 10, 20, 10]))
    assert vocabulary.encode([10, 20, 30, 40]).tolist() == [1, 2, 3, 0]


def test_a_restricted_vocabulary_renumbers_and_forgets_the_rest():
    vocabulary = Vocabulary.of(pl.Series([10, 20, 30, 40]))
    smaller, new_row = vocabulary.restricted_to(np.array([4, 2, 2, 0], dtype=np.int32))
    assert smaller.ids.to_list() == [20, 40]
    assert new_row.tolist() == [0, 0, 1, 0, 2]
    assert smaller.encode([10, 20, 30, 40]).tolist() == new_row[1:].tolist()


@given(raw_ids)
def test_a_checkpoint_gives_back_the_same_vocabulary(ids):
    vocabulary = Vocabulary.of(pl.Series(ids))
    assert Vocabulary.from_state(vocabulary.state()) == vocabulary


def test_numbers_and_strings_are_different_ids():
    assert Vocabulary.of(pl.Series([1, 2])) != Vocabulary.of(pl.Series(["1", "2"]))
    assert Vocabulary.of(pl.Series([1, 2])) != Vocabulary.of(pl.Series([1, 3]))

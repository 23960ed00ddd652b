import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.config.optimizer import WarmRestartsConfig
from lightning_collab.training.callbacks.averaging import warn_of_unfinished_cycle


def restarts(cycle_len, cycle_mult):
    return WarmRestartsConfig(
        name="warm_restarts", cycle_len=cycle_len, cycle_mult=cycle_mult, eta_min=0.0
    )


def test_the_lectures_cycles():
    assert restarts(1, 2).cycle_ends(15) == [1, 3, 7, 15]
    assert restarts(1, 2).cycle_ends(14) == [1, 3, 7]
    assert restarts(2, 1).cycle_ends(7) == [2, 4, 6]
    assert restarts(2.5, 1).cycle_ends(5) == [2.5, 5]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 60))
def test_cycles_follow_one_another_and_grow(cycle_len, mult, epochs):
    ends = restarts(cycle_len, mult).cycle_ends(epochs)
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert lengths == [cycle_len * mult**n for n in range(len(ends))]
    assert all(end <= epochs for end in ends)


@pytest.mark.parametrize(
    ("cycle_len", "mult", "epochs", "said"),
    [
        (1, 2, 7, None),
        (4, 1, 8, None),
        (1, 2, 10, "7 or 15 would not"),
        (1, 1, 3, None),
        (4, 3, 3, "; 4 would not"),
        (2.5, 1, 4, "; 5 would not"),
    ],
)
def test_a_run_that_ends_in_mid_cycle_is_warned_of(cycle_len, mult, epochs, said, caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_unfinished_cycle(restarts(cycle_len, mult), epochs)
    assert (said in caplog.text) if said else not caplog.text

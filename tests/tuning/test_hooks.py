"""Hooks, and the cycles that fill any number of epochs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from support import composed

from lightning_collab.config import validated
from lightning_collab.errors import ConfigError
from lightning_collab.tuning.search_space import load_hook, number_of_cycles

BASE = composed()


@settings(deadline=None)
@given(cycles=st.integers(1, 5), mult=st.integers(1, 4), epochs=st.integers(1, 300))
def test_the_cycles_fill_the_epochs(cycles, mult, epochs):
    base = BASE | {
        "trainer": BASE["trainer"] | {"max_epochs": epochs},
        "scheduler": BASE["scheduler"] | {"cycle_mult": mult},
    }
    derived = number_of_cycles(FixedTrial({"cycles": cycles}), validated(base))
    first = derived["scheduler.cycle_len"]
    assert sum(first * mult**number for number in range(cycles)) == pytest.approx(epochs)
    validated(base | {"scheduler": base["scheduler"] | {"cycle_len": first}})


def test_the_default_config_is_four_cycles():
    base = validated(BASE)
    derived = number_of_cycles(FixedTrial({"cycles": 4}), base)
    assert derived == {"scheduler.cycle_len": base.scheduler.cycle_len}


def test_no_cycles_without_restarts():
    with pytest.raises(ConfigError, match="scheduler=constant has no cycles"):
        number_of_cycles(FixedTrial({"cycles": 2}), validated(composed("scheduler=constant")))


@pytest.mark.parametrize("name", ["no.such.module", "nothing", "os.path.no_such_function"])
def test_a_hook_that_is_not_there_is_named(name):
    with pytest.raises(ConfigError, match=f"hydra.sweeper.hook={name}"):
        load_hook(name)


def test_a_hook_is_found_by_its_path():
    assert load_hook("lightning_collab.tuning.search_space.number_of_cycles") is number_of_cycles
    assert load_hook(None) is None

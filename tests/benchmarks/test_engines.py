import numpy as np
import pytest
import torch

from benchmarks.bandwidth import bytes_per_rating, bytes_per_second
from benchmarks.bare_loop import BareLoop
from benchmarks.engines import (
    FEATURES,
    LARGE_BATCH,
    LECTURE,
    ML_100K,
    NET,
    PER_SAMPLE,
    StepClock,
    epoch_seconds,
    in_turn,
)
from lightning_collab.training.build import load_data


@pytest.fixture
def data(small_table, run_config):
    config = run_config()
    return load_data(config, small_table)


def test_ways_are_measured_in_turn_and_compared_within_each_round():
    asked = []
    # The machine was ten times slower in the second round.
    clocks = {"fused": iter([1.0, 10.0, 1.0]), "eager": iter([9.0, 90.0, 12.0])}

    def way(name):
        def seconds():
            asked.append(name)
            return next(clocks[name])

        return seconds

    result = in_turn("case", {"fused": way("fused"), "eager": way("eager")}, repeats=3)
    assert asked == ["fused", "eager"] * 3
    assert result == {
        "case/fused_seconds": 1.0,
        "case/eager_seconds": 12.0,
        "case/fused_over_eager": 9.0,
    }


@pytest.mark.parametrize("overrides", [ML_100K, LECTURE, LARGE_BATCH, NET, *FEATURES.values()])
def test_both_engines_can_do_what_they_are_compared_in(run_config, overrides):
    for engine in ("fused", "eager"):
        assert run_config(*overrides, f"training.engine={engine}").training.engine == engine


def test_the_bare_loop_learns_what_the_eager_engine_learns(data, run_config):
    overrides = ("optimizer.lr=0.05", "optimizer.weight_decay=0", "model.factors=4")
    config = run_config(*ML_100K, *overrides, "data.batch_size=16")
    loop = BareLoop.of(config, data)
    losses = [loop.epoch()[1] for _ in range(8)]
    assert losses[-1] < 0.7 * losses[0]
    assert loop.scale == (1.0, 4.0)
    users = data.columns(data.rows.train).users
    known = loop.tables[0].weight.detach()
    assert not torch.equal(known[int(users[0])], known[0])
    assert known[0].abs().max() <= config.model.init_range  # the unknown row is never touched


@pytest.mark.parametrize("by_dataloader", [False, True])
def test_an_epoch_takes_time(data, run_config, by_dataloader):
    config = run_config(*ML_100K, "training.engine=eager", "data.batch_size=16")
    assert 0 < epoch_seconds(config, data, 3, by_dataloader=by_dataloader) < 60


def test_the_steps_of_an_epoch_are_a_part_of_it(data, run_config):
    clock = StepClock()
    seconds = epoch_seconds(run_config(*PER_SAMPLE), data, 3, clock)
    assert len(clock.seconds) == 3  # one block of steps an epoch
    assert 0 < min(clock.seconds) < seconds < 60


def test_bytes_of_a_rating():
    # Two rows of 50 factors and a bias, 4 bytes each, read and written; 12 bytes of a rating; the
    # schedule's factor and the squared error in double precision.
    assert bytes_per_rating(50) == 2 * 2 * 51 * 4 + 12 + 16


def test_a_copy_moves_bytes():
    assert bytes_per_second(1 << 16, repeats=1) > 1e6
    assert np.isfinite(bytes_per_second(1 << 16, repeats=1))

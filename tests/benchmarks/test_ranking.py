import pytest

from benchmarks.peers import bpr_runner
from benchmarks.ranking import PLAIN, SHAPE, product_seconds, step_seconds, validation_seconds
from lightning_collab.training.build import load_data

SMALL = (
    *("logger=none", "callbacks.projector=null", "loss.positives=4", "metrics.top_k=[3]"),
    *("data.batch_size=7", "model.factors=4"),
)


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_the_steps_of_an_epoch_and_their_products_take_time(engine, run_config, small_table):
    config = run_config(*SMALL, "loss=softmax", f"training.engine={engine}")
    data = load_data(config, small_table)
    assert 0 < step_seconds(config, data) < 60
    assert 0 < product_seconds(config, data) < 60


def test_a_validation_is_no_part_of_its_epoch(run_config, small_table):
    config = run_config(*SMALL, "loss=softmax")
    validation, epoch = validation_seconds(config, load_data(config, small_table))
    assert 0 < validation < 60
    assert 0 < epoch < 60


def test_either_engine_takes_the_steps_that_are_compared(run_config):
    for engine in ("fused", "eager"):
        assert run_config(*SHAPE, "loss=softmax", f"training.engine={engine}")
        assert run_config(*SHAPE, *PLAIN, f"training.engine={engine}").batch_size == 1


def test_what_a_fit_does_but_once_is_no_part_of_an_epoch(monkeypatch):
    clock = iter([0.0, 10.0, 20.0, 42.0])  # ten seconds to set up, of which none counts
    monkeypatch.setattr(bpr_runner.time, "perf_counter", lambda: next(clock))
    fitted = []
    assert bpr_runner.epoch_seconds(fitted.append) == 3.0
    assert fitted == [1, 5]

"""Several ranks train the model, and measure the numbers, of one process."""

import numpy as np
import pytest
from rank_cases import measured, measured_on_ranks, several_trained, trained
from ranks import on_ranks

QUICK = (
    "callbacks.progress_bar=false",
    "logger=none",
    "trainer.max_epochs=3",
    "model.factors=4",
    "model.init_range=0.3",
    "optimizer.lr=0.02",
    "training.engine=eager",
)
# With 480 training ratings: the last batch is of another size, and of one row, so that one rank
# has none.
UNEQUAL, ONE_LEFT = "data.batch_size=97", "data.batch_size=479"

CASES = {
    "restarts and differential rates": (
        UNEQUAL,
        "scheduler=warm_restarts",
        "optimizer.groups.embeddings.lr_scale=0.3",
    ),
    "an empty share and decay on touched rows": (ONE_LEFT, "optimizer.decay=touched_rows"),
    "the net and decoupled decay": (
        UNEQUAL,
        "model=embedding_net",
        "optimizer.groups.output.lr_scale=2",
        "optimizer=adamw",
        "optimizer.weight_decay=0.1",
    ),
    "the whole batch and momentum": (
        "data.batch_size=full",
        "optimizer=sgd",
        "optimizer.decay=gradient",
    ),
    "features": (UNEQUAL, "features=history"),
}


def test_metrics_are_those_of_one_process_whatever_the_number_of_rows():
    random = np.random.default_rng(0)
    sizes = [(rows, size) for rows in range(1, 6) for size in (1, 2, 3)]
    sizes += [tuple(int(n) for n in random.integers(1, 400, 2)) for _ in range(25)]
    expected = measured(sizes, 0, 1)
    for result in on_ranks(measured_on_ranks, sizes):
        for one, other in zip(expected, result, strict=True):
            assert other == pytest.approx(one, abs=1e-6)


@pytest.fixture(scope="module")
def both(small_table, run_config, tmp_path_factory):
    """Each case by one process, by two ranks, and by two ranks that share the rows."""
    folder = tmp_path_factory.mktemp("ranks")
    ways = {
        "one": ("trainer=cpu",),
        "ddp": ("trainer=ddp_cpu",),
        "row": ("trainer=ddp_cpu", "model.sharding=row"),
    }

    def configs(way):
        return [
            (run_config(*QUICK, *ways[way], "trainer.max_epochs=3", *case), folder / way / name)
            for name, case in CASES.items()
        ]

    one = several_trained(configs("one"), small_table)
    several = {
        way: on_ranks(several_trained, configs(way), small_table)[0] for way in ("ddp", "row")
    }
    return {
        name: (one[k], {way: results[k] for way, results in several.items()})
        for k, name in enumerate(CASES)
    }


@pytest.mark.parametrize("way", ["ddp", "row"])
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_the_model_of_one_process(both, case, way):
    one, several = both[case]
    two = several[way]
    assert two["metrics"]["ranks"] == 2
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    for name, weights in one["weights"].items():
        np.testing.assert_allclose(two["weights"][name], weights, atol=1e-5, err_msg=name)
    for name, value in one["metrics"].items():
        if name.startswith(("val/", "test/")):
            assert two["metrics"][name] == pytest.approx(value, abs=1e-5)
    assert two["metrics"]["parameters"] == one["metrics"]["parameters"]


@pytest.mark.parametrize(
    "model", ["embedding_net", pytest.param("embedding_dot_bias", marks=pytest.mark.slow)]
)
def test_a_run_goes_on_with_other_ranks_and_with_whole_or_split_tables(
    model, small_table, run_config, tmp_path
):
    def config(*overrides):
        return run_config(*QUICK, UNEQUAL, f"model={model}", *overrides)

    def several(ranks, epochs, sharding):
        settings = (f"trainer.devices={ranks}", f"trainer.max_epochs={epochs}")
        split = config("trainer=ddp_cpu", *settings, f"model.sharding={sharding}")
        arguments = (trained, split, small_table, tmp_path / "run", epochs > 1)
        return on_ranks(*arguments, ranks=ranks)[0]

    whole = trained(config("trainer.max_epochs=5"), small_table, tmp_path / "whole")
    several(2, 1, "row")
    several(3, 2, "row")
    trained(config("trainer.max_epochs=3"), small_table, tmp_path / "run", resume=True)
    several(2, 4, "row")
    end = several(2, 5, "none")
    assert end["metrics"]["test/rmse"] == pytest.approx(whole["metrics"]["test/rmse"], abs=1e-5)
    for name, weights in whole["weights"].items():
        np.testing.assert_allclose(end["weights"][name], weights, atol=1e-5, err_msg=name)
    for one, other in zip(whole["optimizer"], end["optimizer"], strict=True):
        for name, value in one.items():
            np.testing.assert_allclose(other[name], value, atol=1e-5, err_msg=name)

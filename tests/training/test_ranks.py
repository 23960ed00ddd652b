"""Several ranks train the model, and measure the numbers, of one process."""

import socket
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from rank_cases import measured, measured_on_ranks, several_trained, trained
from ranks import on_ranks

from lightning_collab.errors import ConfigError
from lightning_collab.training import parts

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
    "an empty share and per-row decay": (ONE_LEFT, "optimizer.decay=per_row"),
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
    "an optimizer of torch's": (
        UNEQUAL,
        "optimizer=torch",
        "optimizer.class_name=RMSprop",
        "optimizer.settings={eps: 1e-3}",
    ),
    "features": (UNEQUAL, "features=history"),
    "rows of items left out": (
        UNEQUAL,
        "+features.items.kind={kind: category, column: kind}",
        "features.id_dropout=0.4",
    ),
    "sparse gradients": (
        UNEQUAL,
        "optimizer=sgd",
        "optimizer.momentum=0",
        "optimizer.sparse=true",
        "optimizer.decay=per_row",
    ),
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

    def of(case, way):
        # The gradients of one process are dense, and so are those of the rows that a rank has.
        sparse = "optimizer.sparse=true"
        return case if way == "ddp" else [each for each in case if each != sparse]

    def configs(way):
        return [
            (run_config(*QUICK, *ways[way], *of(case, way)), folder / way / name)
            for name, case in CASES.items()
        ]

    ids = small_table.item_vocabulary.ids
    kinds = pl.DataFrame({"item": ids, "kind": ["abc"[number % 3] for number in range(len(ids))]})
    table = replace(small_table, item_features=kinds)
    one = several_trained(configs("one"), table)
    several = {way: on_ranks(several_trained, configs(way), table)[0] for way in ("ddp", "row")}
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


def test_sparse_gradients_are_those_of_dense_ones(small_table, run_config, tmp_path):
    case = CASES["sparse gradients"]
    dense = [*case, "optimizer.sparse=false"]
    results = [
        trained(run_config(*QUICK, "trainer=cpu", *overrides), small_table, tmp_path / str(k))
        for k, overrides in enumerate((case, dense))
    ]
    for name, weights in results[1]["weights"].items():
        np.testing.assert_allclose(results[0]["weights"][name], weights, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("trainer=ddp_cpu", "data.batch_size=1"), r"data\.batch_size=1 is less than one rating"),
        (
            ("trainer.devices=2",),
            r"trainer\.devices=2: trainer=cpu is a single process; set trainer=ddp_",
        ),
        (("trainer=ddp_cpu", "trainer.process_group_backend=nccl"), r"nccl is for GPUs"),
        (("trainer.precision=16-mixed",), r"16-mixed is for GPUs"),
        (("model.sharding=row",), r"trainer=cpu is a single process"),
        (("trainer=ddp_cpu", "model.sharding=row", "trainer.precision=64-true"), "32-true or"),
        (("trainer=ddp_cpu", "model.sharding=row", "trainer.gradient_clip_val=1"), "clip_val"),
        (("trainer=ddp_cpu", "model.sharding=row", "averaging=ema"), "averaging"),
        (("optimizer=sgd", "optimizer.sparse=true"), r"optimizer\.momentum=0"),
        (("trainer=ddp_cpu", "model=least_squares_factors"), "solved without gradients"),
        (("trainer=ddp_cpu", "model=bayesian_factors"), "solved|sampled"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_what_ranks_cannot_do_is_refused(run_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_config(*overrides)


@pytest.mark.parametrize("name", ["gloo", "nccl"])
def test_a_backend_that_torch_lacks_is_named(run_config, monkeypatch, name):
    monkeypatch.setitem(parts.BACKENDS, name, lambda: False)
    settings = run_config("trainer=ddp_cpu").trainer.model_copy(
        update={"process_group_backend": name}
    )
    with pytest.raises(ConfigError, match=rf"process_group_backend={name}: .* built without it"):
        parts.check_devices(settings)


def test_more_gpus_than_there_are_are_refused(run_config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for overrides, message in (
        (("trainer=ddp", "trainer.devices=3"), r"devices=3, but this machine has 2"),
        (("trainer=gpu", "trainer.devices=auto"), r"has 2, and trainer=gpu is one process"),
    ):
        with pytest.raises(ConfigError, match=message):
            parts.check_devices(run_config(*overrides).trainer)


def test_a_port_in_use_is_named(run_config, monkeypatch):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(ConfigError, match=rf"MASTER_PORT={port}, .* is in use"):
            parts.check_devices(run_config("trainer=ddp_cpu").trainer)
    monkeypatch.setenv("MASTER_PORT", "http")
    with pytest.raises(ConfigError, match="is not a port"):
        parts.check_devices(run_config("trainer=ddp_cpu").trainer)


def test_brain_floats_train_about_the_same_on_ranks_and_rows(small_table, run_config, tmp_path):
    common = (*QUICK, UNEQUAL, "model=embedding_net", "trainer.max_epochs=2", "scheduler=constant")
    full = trained(run_config(*common), small_table, tmp_path / "full")
    short = run_config(
        *common, "trainer=ddp_cpu", "model.sharding=row", "trainer.precision=bf16-mixed"
    )
    mixed = on_ranks(trained, short, small_table, tmp_path / "mixed")[0]
    assert mixed["losses"] == pytest.approx(full["losses"], rel=0.02)
    assert mixed["losses"] != pytest.approx(full["losses"], rel=1e-7)

"""A run whose ratings stay on disk trains the model of the same rows in memory."""

import numpy as np
import polars as pl
import pytest
import torch

from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train

QUICK = (
    "data=csv",
    "split=predefined",
    "callbacks.progress_bar=false",
    "callbacks.projector=null",
    "callbacks.report=null",
    "logger=none",
    "trainer.max_epochs=3",
    "model.factors=4",
)
ENGINES = {
    "eager": ("training.engine=eager", "data.batch_size=64"),
    "fused": ("training.engine=fused", "data.batch_size=64"),
    "single": ("training.engine=fused", "data.batch_size=1", "optimizer=sgd", "optimizer.lr=0.01"),
}


@pytest.fixture
def path(tmp_path, monkeypatch):
    """600 ratings of 30 users and 20 items, each of whom is in every part."""
    monkeypatch.setenv("LIGHTNING_COLLAB_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(4)
    users, items = np.divmod(random.permutation(600), 20)
    parts = np.array(["train"] * 8 + ["val", "test"])[(users + items) % 10]
    frame = pl.DataFrame({"user": users, "item": items, "part": parts})
    ratings = pl.Series(random.integers(1, 6, 600))
    frame.with_columns(rating=ratings).write_parquet(tmp_path / "ratings.parquet")
    return tmp_path / "ratings.parquet"


def run(directory, config):
    metrics = train(config, RunDirectory(directory))
    saved = read_checkpoint(RunDirectory(directory).last_checkpoint)
    kept = ("val/rmse", "test/rmse", "test/mae", "baseline/bias_rmse", "train_ratings")
    return {name: metrics[name] for name in kept}, saved["state_dict"]


def assert_same(one, two):
    assert one[0] == two[0]
    assert one[1].keys() == two[1].keys()
    assert all(torch.equal(one[1][name], two[1][name]) for name in one[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_window_of_all_rows_is_memory_to_the_bit(tmp_path, run_config, path, engine):
    options = (*QUICK, *ENGINES[engine], f"data.path={path}")
    in_memory = run(tmp_path / "memory", run_config(*options))
    mapped = run(tmp_path / "mapped", run_config(*options, "data.storage=memory_map"))
    assert_same(mapped, in_memory)
    history, other = (
        pl.read_parquet(RunDirectory(tmp_path / name).history_file) for name in ("memory", "mapped")
    )
    assert history.equals(other)

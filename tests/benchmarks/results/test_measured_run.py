import json

import pytest
from hydra import initialize_config_dir
from support import CONF

from benchmarks.results.measured_run import measured_run


@pytest.fixture
def in_hydra():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def test_a_run_is_measured_once_and_again_when_its_config_changes(in_hydra, tmp_path, ml_100k):
    quick = ("trainer.max_epochs=2", "data.batch_size=8192", "model.factors=4")
    metrics, epochs = measured_run(tmp_path / "run", *quick)
    assert [len(epochs), metrics["epochs"]] == [2, 2]
    # Of rows whose user and item have training ratings: those of others are made afterwards.
    best = min(epochs, key=lambda epoch: epoch["val/rmse"])
    assert best["val/rmse_warm"] == pytest.approx(metrics["val/rmse_warm"])
    assert 0 < epochs[0]["seconds"] < epochs[1]["seconds"] <= metrics["fit_seconds"]

    written = (tmp_path / "run" / "history.json").stat().st_mtime_ns
    assert measured_run(tmp_path / "run", *quick) == (metrics, epochs)
    assert (tmp_path / "run" / "history.json").stat().st_mtime_ns == written

    other, _ = measured_run(tmp_path / "run", *quick, "seed=1")
    assert other["val/rmse"] != metrics["val/rmse"]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == other

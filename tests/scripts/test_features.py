"""Features, ranking and averages through the commands, in fresh processes."""

import json

import pytest

import lightning_collab

pytestmark = pytest.mark.usefixtures("ml_100k")


def test_train_with_features_measure_more_and_use_the_run(run_script, tmp_path):
    done = run_script(
        "train.py",
        "features=everything",
        "hydra.run.dir=out",
        "trainer.max_epochs=3",
        "scheduler.cycle_len=1",
        "data.batch_size=8192",
        "model.factors=4",
        "callbacks.report=null",
        "callbacks.projector=null",
        "callbacks.progress_bar=false",
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    measured = run_script("evaluate.py", "run=out", "ranking=true", "top_k=5", "ensemble=true")
    assert measured.returncode == 0, measured.stderr
    assert f"{metrics['test/rmse']:.4f}" in measured.stdout
    for text in ("NDCG@5", "recall@5", "coverage@5", "item-kNN", "test averaged", "loss=softmax"):
        assert text in measured.stdout
    run = lightning_collab.load(tmp_path / "out")
    assert set(run.model.features()) == {"users", "items"}
    assert len(run.model.time_effects) == 3
    assert run.recommend(user=196, top_k=3).height == 3


def test_what_cannot_be_measured_says_why(run_script):
    wrong = run_script("evaluate.py", "ranking=true", "top_k=0")
    assert wrong.returncode == 1
    assert "top_k" in wrong.stderr
    nothing = run_script("evaluate.py", "ranking=true")
    assert nothing.returncode == 1
    assert "run=<run directory>" in nothing.stderr

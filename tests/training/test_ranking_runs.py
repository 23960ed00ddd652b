"""Runs that rank, on real data, from the command line's config to metrics.json."""

import json

import pytest
from support import composed

from lightning_collab.config import validated
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train

QUIET = ("logger=none", "callbacks.progress_bar=false", "callbacks.projector=null")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_COLLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(tmp_path):
    """Train what is typed; what was written."""

    def of(*typed):
        directory = RunDirectory(tmp_path / "run")
        metrics = train(validated(composed(*typed, *QUIET)), directory)
        assert json.loads(directory.metrics_file.read_text())["test/ndcg@10"] == pytest.approx(
            metrics["test/ndcg@10"]
        )
        return json.loads(directory.metrics_file.read_text())

    return of


@pytest.mark.parametrize(("loss", "least"), [("softmax", 0.290), ("bce", 0.278), ("bpr", 0.245)])
def test_each_loss_ranks_as_well_as_is_said(loss, least, run, shared_data):
    typed = () if loss == "softmax" else (f"loss={loss}",)
    metrics = run("experiment=ml_100k_ranking", *typed)
    assert metrics["test/ndcg@10"] >= least
    assert 0.2 < metrics["val/ndcg@10"] < 0.3
    popular = metrics["baseline/most_popular/ndcg@10"]
    assert popular == pytest.approx(0.140, abs=0.003)
    assert popular < metrics["baseline/item_knn/ndcg@10"] < metrics["baseline/ease/ndcg@10"]
    # It recommends other things than what everybody knows.
    assert metrics["test/coverage@10"] > 3 * metrics["baseline/most_popular/coverage@10"]


def test_softmax_is_above_ease_by_the_protocol_of_recbole(run, shared_data):
    metrics = run("experiment=ml_100k_recbole", "split.seed=43")
    assert metrics["test/ndcg@10"] > metrics["baseline/ease/ndcg@10"]


def test_clicks_with_nothing_else_typed_beat_the_most_popular(run, shared_data, tmp_path):
    file = tmp_path / "clicks.csv"
    pairs = [
        line.split("\t")[:2]
        for line in (shared_data / "ml-100k" / "u.data").read_text().splitlines()
    ]
    file.write_text("\n".join(["user,item", *(",".join(pair) for pair in pairs)]))
    source = ("data=csv", f"data.path={file}", "data.columns.rating=null")
    metrics = run(*source, "loss=bpr")
    assert metrics["test/ndcg@10"] > 1.3 * metrics["baseline/most_popular/ndcg@10"]


def test_the_example_of_clicks_learns_tastes(run):
    metrics = run("experiment=clicks_example")
    assert metrics["test/ndcg@10"] > 2 * metrics["baseline/most_popular/ndcg@10"]

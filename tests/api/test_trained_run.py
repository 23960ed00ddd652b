"""A trained run: its numbers again, neighbors, the page, going on; here and in another process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from frames import QUICK, ratings_frame
from hydra import compose, initialize_config_dir
from support import CONF

import lightning_collab as lc
from lightning_collab.commands.use_a_run import similar_command
from lightning_collab.config.model import RANKING_METRICS
from lightning_collab.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    InspectionError,
    NotFoundError,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return lc.train(
        ratings_frame(), factors=4, run_dir=tmp_path_factory.mktemp("runs") / "run", overrides=QUICK
    )


MEASURED = ("val/", "test/")


def measured(metrics):
    return {key: value for key, value in metrics.items() if key.startswith(MEASURED)}


def test_the_numbers_are_those_of_the_training_to_the_last_digit(run):
    written = json.loads((run.path / "metrics.json").read_text())
    assert run.evaluate() == measured(written)
    assert len(run.evaluate()) >= 9


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("embedding_net", {"trainer.precision": "64-true"}),
        ("matrix_product", {"trainer.limit_val_batches": 1, "averaging": "swa"}),
        ("embedding_dot_bias", {"trainer.precision": "bf16-mixed"}),
        ("least_squares_factors", {"trainer.threads": None}),
        ("bayesian_factors", {"trainer.max_epochs": 14}),
    ],
)
def test_they_are_of_every_model_and_precision(frame, model, overrides):
    run = lc.train(frame, model=model, factors=3, overrides={**QUICK, **overrides})
    assert run.evaluate() == measured(run.metrics)


def test_they_are_of_the_checkpoint_that_was_loaded(run):
    last = lc.load(run.path, "last")
    assert last.checkpoint.name == "last.ckpt"
    assert last.evaluate(ratings_frame()).keys() == run.evaluate().keys()


def test_rankings(run):
    ranked = run.evaluate(ranking=True, top_k=5, liked=3.0)
    assert measured(run.metrics).items() < ranked.items()
    further = ranked.keys() - run.evaluate().keys()
    who = ("val", "test", *(f"baseline/{name}" for name in ("most_popular", "item_knn", "ease")))
    names = {f"{prefix}/{name}@5" for prefix in who for name in RANKING_METRICS}
    assert further == names | {"baseline/ease/penalty"}
    unbounded = ("mean_popularity@5", "penalty")
    assert all(0 <= ranked[key] <= 1 for key in further if not key.endswith(unbounded))
    assert run.evaluate(ranking=True, top_k=20)["test/recall@20"] == 1.0


def test_rankings_at_several_places(run):
    both = run.evaluate(ranking=True, top_k=(3, 5), liked=3.0)
    alone = run.evaluate(ranking=True, top_k=5, liked=3.0)
    assert {key: both[key] for key in alone} == pytest.approx(alone)
    assert "test/ndcg@3" in both
    as_in_the_run = run.evaluate(ranking=True)
    assert {"val/ndcg@10", "val/ndcg@20"} < as_in_the_run.keys()
    assert run.evaluate(ranking=True, liked=4.0) == as_in_the_run


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"top_k": 0}, "top_k"), ({"top_k": [5, 3]}, "ascending"), ({"liked": "some"}, "liked")],
)
def test_rankings_that_cannot_be(run, asked, message):
    with pytest.raises(ConfigError, match=message):
        run.evaluate(ranking=True, **asked)


def test_neighbors_are_those_of_the_command(run):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        asked = ["movie_id=9", "top_k=4", "min_ratings=10", "measure=dot"]
        config = compose("similar", [f"run={run.path}", *asked])
    expected = similar_command(config)
    found = run.similar(item=9, top_k=4, min_ratings=10, measure="dot")
    assert found.equals(expected)
    assert 9 not in found["item"]


def test_neighbors_of_a_user(run):
    found = run.similar(user=100, min_ratings=5, top_k=3)
    assert found.columns == ["user", "ratings", "mean_rating", "similarity"]
    assert found["similarity"].is_sorted(descending=True)
    assert (found["ratings"] >= 5).all()


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ({}, ConfigError, "give one of item and user"),
        ({"item": 7, "user": 100}, ConfigError, "give one of item and user"),
        ({"item": 7, "top_k": 0}, ConfigError, "top_k: at least 1"),
        ({"item": 1}, NotFoundError, "there is no item 1"),
        ({"item": 7, "min_ratings": 1000}, InspectionError, "lower min_ratings"),
    ],
)
def test_neighbors_that_there_cannot_be(run, asked, kind, message):
    with pytest.raises(kind, match=message):
        run.similar(**asked)


def test_the_page(run, tmp_path):
    page = run.report(map="pca", output=tmp_path / "page.html")
    assert "user and item biases" in page.read_text()
    assert page.stat().st_size > 50_000
    assert run.report(map=None) == run.path / "report.html"


ELSEWHERE = """
import sys
sys.path.insert(0, {support!r})
import lightning_collab as lc
run = lc.load({path!r})
assert run.data is None
assert "pytorch_lightning" not in sys.modules
run.recommend(user=100)
from frames import ratings_frame
metrics = run.evaluate(ratings_frame())
assert metrics == {{k: v for k, v in run.metrics.items() if k.startswith(("val/", "test/"))}}
assert run.report(ratings_frame(), map=None).is_file()
try:
    run.evaluate(ratings_frame()[::-1])
except lc.LightningCollabError as error:
    print("refused:", error)
"""


def test_in_another_process(run):
    support = str(Path(__file__).parents[1] / "support")
    program = ELSEWHERE.format(support=support, path=str(run.path))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "refused: the run was trained on another frame" in done.stdout


def test_a_data_module_of_the_same_ratings(run):
    data = lc.RatingDataModule.from_frame(ratings_frame(), batch_size=7)
    assert lc.load(run.path).evaluate(data) == run.evaluate()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, r"lightning_collab\.load\(<run directory>\)"),
        (ratings_frame()[::-1], "another frame"),
        (ratings_frame()[:300], "it had 400 rows, and this one has 300"),
        ("ratings.csv", "trained on a frame; pass that frame"),
        (lc.RatingDataModule.from_frame(ratings_frame()[:300]), "is of other ratings"),
    ],
)
def test_ratings_that_are_not_those_of_the_run(run, data, message):
    loaded = lc.load(run.path)
    for ask in (loaded.evaluate, loaded.report, loaded.resume):
        with pytest.raises(DataError, match=message):
            ask(data)


def test_a_run_of_a_file_reads_it_again_wherever_it_is(frame):
    frame.write_csv("ratings.csv")
    run = lc.train("ratings.csv", factors=4, overrides=QUICK)
    loaded = lc.load(run.path)
    assert loaded.evaluate() == measured(run.metrics)
    with pytest.raises(DataError, match=r"data=csv, which it reads itself; leave a frame out"):
        loaded.evaluate(frame)
    Path("ratings.csv").rename("moved.csv")
    with pytest.raises(DataError, match=r"ratings\.csv: no such file"):
        loaded.evaluate()
    assert loaded.evaluate("moved.csv") == measured(run.metrics)
    frame.with_columns(pl.col("item") + 1).write_csv("moved.csv")
    with pytest.raises(CheckpointError, match="belongs to other data"):
        loaded.evaluate("moved.csv")


def test_columns_that_are_found_are_those_that_were_named(frame):
    frame.with_columns(stars=6 - pl.col("rating")).write_csv("ratings.csv")
    named = {"user": "user", "item": "item", "rating": "rating", "timestamp": None}
    run = lc.load(lc.train("ratings.csv", **named, factors=4, overrides=QUICK).path)
    found = lc.RatingDataModule.from_file("ratings.csv")
    assert run.evaluate(found) == measured(run.metrics)
    with pytest.raises(DataError, match="is of other ratings"):
        run.evaluate(lc.RatingDataModule.from_file("ratings.csv", rating="stars"))


def test_going_on_is_as_if_it_had_not_stopped(frame, run, tmp_path):
    longer = {**QUICK, "trainer.max_epochs": 5}
    whole = lc.train(frame, factors=4, overrides=longer)
    shutil.copytree(run.path, tmp_path / "copy")
    gone_on = lc.load(tmp_path / "copy").resume(frame, overrides={"trainer.max_epochs": 5})
    assert gone_on.metrics["epochs"] == 5
    assert gone_on.data is not None
    for name, value in whole.model.state_dict().items():
        assert torch.equal(gone_on.model.state_dict()[name], value)
    assert lc.load(run.path).metrics["epochs"] == 3


@pytest.mark.parametrize(
    ("overrides", "kind", "message"),
    [
        ({}, CheckpointError, "trained for 3 epochs already"),
        ({"optimizer": "sgd"}, ConfigError, "optimizer: is a section; set its keys"),
        ({"optimizer.lrr": 1}, ConfigError, "optimizer.lrr: unknown key; did you mean 'lr'"),
        (
            {"trainer.max_epochs": 4, "model.factors": 5},
            ConfigError,
            r"model.factors: 4 in the run, and cannot be changed on resume",
        ),
    ],
)
def test_going_on_as_it_cannot(run, overrides, kind, message):
    with pytest.raises(kind, match=message):
        run.resume(overrides=overrides)
    assert run.evaluate() == measured(run.metrics)


def test_what_a_run_says_of_itself(run, monkeypatch):
    numbers = [f"{run.metrics[key]:.4f}" for key in ("val/rmse", "test/rmse", "baseline/bias_rmse")]
    val, test, biases = numbers
    end = f"val RMSE {val}, test RMSE {test}, user and item biases {biases})"
    assert repr(run) == f"TrainedRun(embedding_dot_bias, '{run.path}', {end}"
    monkeypatch.chdir(run.path.parent)
    assert repr(run) == f"TrainedRun(embedding_dot_bias, 'run', {end}"
    assert "320 / 40 / 40 ratings to train / validate / test, 30 users, 20 items" in str(run.data)

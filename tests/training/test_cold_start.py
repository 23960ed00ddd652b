"""Items and users without training ratings, from the config to metrics.json, on real data."""

import json
from dataclasses import replace

import polars as pl
import pytest
import torch

from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.cold_rows import fitted_cold_rows
from lightning_collab.training.evaluation import measure_run
from lightning_collab.training.run import train

QUIET = (
    "logger=none",
    "callbacks.progress_bar=false",
    "callbacks.projector=null",
    "callbacks.report=null",
)


@pytest.fixture
def run(tmp_path, run_config, ml_100k):
    """Train what is typed; the run directory and what was measured."""

    def of(*typed):
        config = run_config(*QUIET, *typed)
        directory = RunDirectory(tmp_path / "run")
        train(config, directory, data=load_data(config, ml_100k))
        return directory, json.loads(directory.metrics_file.read_text())

    return of


def test_new_films_are_rated_better_than_by_the_biases(run, ml_100k):
    directory, metrics = run("split=cold_items")
    assert metrics["test/rmse"] == metrics["test/rmse_cold"] < 1.01
    assert metrics["test/rmse_cold"] < metrics["baseline/bias_rmse"] - 0.03
    assert metrics["test/cold_auc_rated"] > 0.63
    # Measured again it is the same.
    config = directory.read_config()
    again, _ = measure_run(config, directory, load_data(config, ml_100k))
    measured = {key: value for key, value in metrics.items() if key.startswith(("val/", "test/"))}
    assert again == pytest.approx(measured, abs=1e-6)


def test_a_feature_that_no_new_film_has_is_named(run, ml_100k, run_config, caplog):
    config = run_config(*QUIET, "split=cold_items", "trainer.max_epochs=1")
    data = load_data(config, ml_100k)
    films = data.table.item_features
    warm = films["item"].is_in(data.item_vocabulary.ids.implode())
    year = pl.when(pl.lit(warm)).then(pl.col("year"))
    data = load_data(config, replace(ml_100k, item_features=films.with_columns(year=year)))
    fitted_cold_rows(build_module(config, data).model, data)
    assert "none of the 180 items without training ratings has a value of year" in caplog.text


def test_softmax_finds_the_new_films_that_people_like(run):
    _, metrics = run("experiment=ml_100k_ranking", "split=cold_items")
    assert metrics["test/cold_auc_all"] > 0.78
    assert metrics["test/cold_ndcg@10"] > 0.25
    assert metrics["val/ndcg@10"] > 0.28


def test_new_users_are_served_as_well_as_by_the_biases(run):
    _, metrics = run("split=cold_users")
    assert metrics["test/rmse_cold"] < metrics["baseline/bias_rmse"]


def test_what_is_learned_knows_nothing_of_cold_items(run_config, ml_100k, tmp_path):
    """The weights of a run are those of one whose table of films has the warm ones alone."""
    config = run_config(*QUIET, "split=cold_items", "features=everything", "trainer.max_epochs=1")
    states = []
    for name in ("all", "warm"):
        data = load_data(config, ml_100k)
        if name == "warm":
            films = data.table.item_features
            warm = films["item"].is_in(data.item_vocabulary.ids.implode())
            table = replace(ml_100k, item_features=films.filter(warm))
            data = load_data(config, table)
        train(config, RunDirectory(tmp_path / name), data=data)
        path = tmp_path / name / "checkpoints/last.ckpt"
        states.append(torch.load(path, weights_only=True)["state_dict"])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    module = build_module(config, load_data(config, ml_100k))
    assert set(module.state_dict()) == set(states[0])

"""Run directories that commit 6cf371d made are read, measured and gone on with as it did.

`runs/` holds what it left of training on synthetic ratings, `expected/` what it answered of them.
"""

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from polars.testing import assert_frame_equal
from support import CONF

import lightning_collab
from lightning_collab.commands.evaluate import evaluate_command
from lightning_collab.commands.report import report_command
from lightning_collab.inspection.predictions import predict_part, reload_data
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train

HERE = Path(__file__).parent
RUNS = sorted(path.name for path in (HERE / "runs").iterdir())
RESUMED = [name for name in RUNS if (HERE / "runs" / name / "checkpoints" / "last.ckpt").is_file()]
CLOSE = {"rel_tol": 0, "abs_tol": 1e-6}


@pytest.fixture(params=RUNS)
def name(request):
    """Of a model."""
    return request.param


@pytest.fixture
def trained(name):
    return lightning_collab.load(HERE / "runs" / name)


@pytest.fixture
def answers(name):
    return _answers(name)


def _answers(name):
    return json.loads((HERE / "expected" / f"{name}.json").read_text())


def test_there_is_a_run_of_each_way_of_training():
    assert {"embedding_dot_bias", "least_squares_factors", "bayesian_factors"} <= set(RUNS)
    assert "embedding_net" in RESUMED


def test_predictions_are_the_same(name, trained):
    expected = pl.read_parquet(HERE / "expected" / f"{name}.parquet")
    pairs = expected["user"], expected["item"]
    found = trained.predict(*pairs)
    if "standard_deviation" in found.columns:
        # Since then the product of two unknown vectors has a variance of its own.
        neither = ~expected["known_user"] & ~expected["known_item"]
        larger = found["standard_deviation"] - expected["standard_deviation"]
        assert neither.any()
        assert (larger.filter(neither) > 0).all()
        assert larger.filter(~neither).abs().max() < 1e-4
        expected = expected.with_columns(found["standard_deviation"])
    assert_frame_equal(found, expected.select(found.columns), **CLOSE)
    timed = trained.predict(*pairs, expected["timestamp"])["prediction"]
    assert_frame_equal(timed.to_frame("with_time"), expected.select("with_time"), **CLOSE)


def test_effects_of_time_and_unknown_ids_are_among_them():
    expected = pl.read_parquet(HERE / "expected" / "embedding_dot_bias.parquet")
    assert (expected["prediction"] != expected["with_time"]).any()
    assert not expected["known_user"].all()
    assert not expected["known_item"].all()


def test_recommendations_are_the_same(trained, answers):
    _same(trained.recommend(user=answers["user"], top_k=5), answers["of_user"])
    new = trained.recommend(ratings=dict(answers["ratings"]), top_k=5)
    _same(new, answers["of_ratings"], tolerance=1e-3)  # of an iterative search
    _same(trained.recommend_all(top_k=3), answers["for_all"])


def _same(found, expected, tolerance=1e-6):
    table = pl.DataFrame(expected, schema=found.schema)
    assert_frame_equal(found, table, rel_tol=0, abs_tol=tolerance)


def test_it_is_measured_to_the_same_numbers(name, answers, capsys):
    evaluate_command(
        _config("evaluate", f"run={HERE / 'runs' / name}", "ranking=true", "liked=4", "top_k=5")
    )
    printed = capsys.readouterr().out

    def numbers(start=""):
        lines = [line for line in printed.splitlines() if line.startswith(start)]
        return [float(each) for each in re.findall(r"\d+\.\d{3,4}", "\n".join(lines))]

    errors, of_test = answers["evaluated"][:-4], answers["evaluated"][-2:]
    # A last digit may round over.
    assert numbers()[: len(errors)] == pytest.approx(errors, abs=1.01e-4)
    # At validation the test part was left out then: of these numbers, those of the test part.
    ranked = [numbers(f"{name}@5")[1] for name in ("NDCG", "recall")]
    assert ranked == pytest.approx(of_test, abs=1.01e-4)


def test_its_report_shows_its_numbers_and_errors(name, trained, answers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = HERE / "runs" / name
    report_command(_config("report", f"runs=[{run}]", "map=pca", "output=report.html"))
    page = Path("report.html").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    assert f"{metrics['test/rmse']:.4f}" in page
    predictions = predict_part(trained, reload_data(trained.directory))
    expected = pl.DataFrame(answers["by_rating"])
    assert_frame_equal(predictions.by_rating(), expected, check_dtypes=False, **CLOSE)


@pytest.mark.parametrize("name", RESUMED)
def test_it_is_gone_on_with(name, tmp_path):
    expected = _answers(name)["resumed"]
    shutil.copytree(HERE / "runs" / name, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    config = run.read_config()
    trainer = config.trainer.model_copy(update={"max_epochs": expected["epochs"]})
    metrics = train(config.model_copy(update={"trainer": trainer}), run, resume=True)
    assert {key: metrics[key] for key in expected} == pytest.approx(expected, abs=1e-5)


def _config(command, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, list(overrides))

"""A package of parts by somebody else, `plugin_package/`: installed, it is as ours are."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packages import install
from support import REPOSITORY, composed

import lightning_collab
from lightning_collab.config import validated
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train

SOURCE = REPOSITORY / "tests" / "plugin_package"
PROJECT = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
QUICK = ("callbacks.progress_bar=false", "callbacks.report.map=pca")


def test_a_model_takes_at_most_forty_lines():
    text = (SOURCE / "src" / "collab_example" / "model.py").read_text()
    assert len(text.splitlines()) <= 40


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The package as an editable installation leaves it, in this process."""
    points = {
        group.removeprefix("lightning_collab."): offered
        for group, offered in PROJECT["entry-points"].items()
    }
    install(tmp_path / "site", PROJECT["name"], PROJECT["version"], {}, points)
    monkeypatch.syspath_prepend(SOURCE / "src")
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield
    for name in [each for each in sys.modules if each.split(".")[0] == "collab_example"]:
        del sys.modules[name]


def test_all_its_parts_make_a_run_that_is_loaded_and_used(here, tmp_path):
    typed = ("experiment=club", "trainer.max_epochs=2", *QUICK)
    config = validated(composed(*typed))
    run = RunDirectory(tmp_path / "run")
    metrics = train(config, run)
    assert metrics["val/rmse"] < 1.3
    assert 0 < metrics["test/within_half"] <= 1
    saved = yaml.safe_load(run.config_file.read_text())
    assert saved["model"] == {"name": "distance", "factors": 8, "init_range": 0.1}
    parts = ("model", "split", "data", "scheduler", "metrics.within_half")
    assert saved["plugins"] == dict.fromkeys(parts, "collab-example 1.2")
    trained = lightning_collab.load(run.path)
    assert type(trained.model).__name__ == "Distance"
    assert trained.recommend(user=3, top_k=2)["prediction"].is_sorted(descending=True)
    assert len(trained.recommend(ratings={1: 5, 2: 1}, top_k=2)) == 2


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Run `lightning-collab` in a folder of its own, with or without the package installed."""
    folder = tmp_path_factory.mktemp("somebody")
    # A copy, since building leaves files beside the sources.
    shutil.copytree(SOURCE, folder / "source")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    into = ("--no-deps", "--target", folder / "site", folder / "source")
    subprocess.run([*pip, *map(str, into)], check=True)
    (folder / "work").mkdir()

    def run(*words, installed=True, works=True):
        path = [str(folder / "site")] if installed else []
        path += [str(REPOSITORY / "src")]
        done = subprocess.run(
            [sys.executable, "-m", "lightning_collab", *words],
            cwd=folder / "work",
            env={**os.environ, "COLUMNS": "200", "PYTHONPATH": os.pathsep.join(path)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert (done.returncode == 0) is works, f"{words}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    run.folder = folder / "work"
    return run


@pytest.fixture(scope="module")
def trained(shell):
    """A run of everything in the package."""
    return shell("train", "experiment=club", "trainer.max_epochs=3", "hydra.run.dir=run", *QUICK)


@pytest.mark.slow
def test_it_is_trained_and_its_parts_are_in_the_help(shell, trained):
    assert re.search(r"^within_half +\d", trained.stdout, re.MULTILINE)
    assert (shell.folder / "run/report.html").is_file()
    said = shell("train", "--help").stdout
    for option in ("distance", "newcomers", "club", "inverse_root"):
        assert option in said


@pytest.mark.slow
def test_it_is_gone_on_with(shell, trained):
    shutil.copytree(shell.folder / "run", shell.folder / "resumed")
    shell("train", "resume=resumed", "trainer.max_epochs=5")
    shell("train", "experiment=club", "trainer.max_epochs=5", "hydra.run.dir=at_once", *QUICK)
    resumed, at_once = (
        json.loads((shell.folder / name / "metrics.json").read_text())
        for name in ("resumed", "at_once")
    )
    assert resumed["epochs"] == 5
    assert resumed["val/rmse"] == at_once["val/rmse"]
    assert resumed["test/within_half"] == at_once["test/within_half"]


@pytest.mark.slow
def test_it_is_tuned(shell):
    done = shell(
        *("train", "sweep=distance", "data=club", "model=distance", "split=newcomers"),
        *("hydra.sweeper.n_trials=2", "hydra.sweep.dir=study", "trainer.max_epochs=3"),
    )
    assert "the best, trained again:" in done.stdout
    winner = yaml.safe_load((shell.folder / "study/winner/config.yaml").read_text())
    assert winner["plugins"]["model"] == "collab-example 1.2"


@pytest.mark.slow
def test_it_is_used(shell, trained):
    assert "for user 3" in shell("recommend", "run=run", "user=3", "top_k=2").stdout
    assert "Film" in shell("recommend", "run=run", "ratings={1:5,2:1}").stdout
    assert "nearest to Film 3" in shell("similar", "run=run", "movie_id=3").stdout
    assert "within_half" in shell("evaluate", "run=run", "ranking=true").stdout
    shell("export", "run=run", "format=safetensors")
    card = (shell.folder / "run/export_safetensors/README.md").read_text()
    assert "biases less the squared distance" in card
    assert "The formula is that of `distance` in collab-example 1.2." in card
    shell("map-embeddings", "run=run", "method=pca")
    assert (shell.folder / "run/figures/map_items_pca.html").is_file()
    shell("report", "runs=[run]", "map=pca", "output=again.html")
    assert "test/within_half" in (shell.folder / "again.html").read_text()


@pytest.mark.slow
def test_it_is_exported_as_a_graph(shell, trained):
    pytest.importorskip("onnxscript")
    shell("export", "run=run", "format=onnx")
    assert (shell.folder / "run/export_onnx/model.onnx").is_file()


@pytest.mark.slow
def test_without_the_package_it_is_said_what_to_install(shell, trained):
    advice = "which is not installed here; to install it: pip install 'collab-example==1.2'"
    for words in (
        ("recommend", "run=run", "user=3"),
        ("evaluate", "run=run"),
        ("train", "resume=run", "trainer.max_epochs=9"),
    ):
        done = shell(*words, installed=False, works=False)
        assert f"run/config.yaml: model=distance is of collab-example 1.2, {advice}" in done.stderr
    done = shell("train", "model=distance", installed=False, works=False)
    assert "model=distance: no such option; known here: bayesian_factors" in done.stderr

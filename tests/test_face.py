"""The public face: every name is there, is known to type checkers, and its example runs."""

import ast
import dataclasses
import doctest
import functools
import inspect
import shutil
from pathlib import Path
from typing import Literal

import pytest
import pytorch_lightning
import torch
from frames import QUICK, ratings_frame

import lightning_collab as lc

NAMES = [name for name in lc.__all__ if not name.startswith("__")]
WANTED = {
    *("train", "load", "TrainedRun", "RatingDataModule", "RatingModule", "LeastSquaresModule"),
    *("BayesianModule", "EmbeddingDotBias", "EmbeddingNet", "MatrixProduct", "LeastSquaresFactors"),
    *("BayesianFactors", "RatingModel", "ModelConfig", "Loss", "PointwiseLoss", "PairwiseLoss"),
    *("UserLoss", "SquaredError", "DatasetStatistics", "LightningCollabError"),
}


def test_the_names():
    assert set(NAMES) >= WANTED
    assert dir(lc) == sorted(lc.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_what_it_says(name):
    found = getattr(lc, name)
    assert found.__name__ == name
    assert len(inspect.getdoc(found) or "") > 40


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        lc.trian  # noqa: B018


def test_type_checkers_know_all_of_them():
    tree = ast.parse(Path(lc.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: each.module
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    assert set(imported) == set(NAMES)
    assert {f"{module}.{name}" for name, module in imported.items()} == {
        f"{module}.{name}" for name, module in lc._PLACES.items()
    }


class QuietLightning:
    """Lightning whose trainers say nothing, since an example shows what is printed."""

    Trainer = functools.partial(
        pytorch_lightning.Trainer,
        accelerator="cpu",
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    return lc.train(ratings_frame(), factors=4, run_dir=path, overrides=QUICK)


@pytest.fixture
def names(frame, trained, monkeypatch):
    """What the examples speak of; the run is a copy, since some go on with it."""
    monkeypatch.setattr("lightning_collab.api.training.print_summary", lambda *_: None)
    shutil.copytree(trained.path, "run")
    data = lc.RatingDataModule.from_frame(frame, batch_size=64)
    return {
        "lightning_collab": lc,
        "pl": QuietLightning,
        "torch": torch,
        "Literal": Literal,
        "frame": frame,
        "data": data,
        "model": lc.EmbeddingDotBias.for_data(data, factors=4),
        "run": dataclasses.replace(lc.load("run"), data=trained.data),
    }


def examples(name):
    found = doctest.DocTestFinder(recurse=True).find(getattr(lc, name), name, globs={})
    return [each for each in found if each.examples]


@pytest.mark.parametrize("name", [name for name in NAMES if examples(name)])
def test_the_examples_run(name, names):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags)
    said = []
    for each in examples(name):
        each.globs = dict(names)
        runner.run(each, out=said.append, clear_globs=False)
    assert runner.failures == 0, "".join(said)


BY_EXAMPLE = WANTED - {"Loss", "PairwiseLoss", "UserLoss", "LightningCollabError"}


@pytest.mark.parametrize("name", sorted(BY_EXAMPLE))
def test_there_is_an_example(name):
    assert ">>>" in (inspect.getdoc(getattr(lc, name)) or "")

"""scripts/evaluate.py runs=[...]: runs of the same data as one, and refusals of others."""

import re

import pytest
from omegaconf import OmegaConf
from support import CONF, composed

from lightning_collab.commands.evaluate import evaluate_command
from lightning_collab.config import validated
from lightning_collab.errors import ConfigError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train

QUIET = ("logger=none", "callbacks.progress_bar=false", "callbacks.projector=null")
SMALL = ("data=synthetic", "data.users=60", "data.items=40", "data.ratings=1000")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run directories by their names."""
    folder = tmp_path_factory.mktemp("runs")
    typed = {
        "softmax": ("loss=softmax", "trainer.max_epochs=3"),
        "errors": ("trainer.max_epochs=1", "scheduler.cycle_len=1"),
        "other_split": ("loss=softmax", "trainer.max_epochs=1", "split.seed=7"),
        "other_data": ("loss=softmax", "trainer.max_epochs=1", "data.seed=5"),
        "no_val": ("loss=softmax", "trainer.max_epochs=1", "split.val=0"),
    }
    for name, own in typed.items():
        train(validated(composed(*SMALL, *QUIET, *own)), RunDirectory(folder / name))
    return {name: str(folder / name) for name in typed}


def evaluate(**asked):
    config = OmegaConf.load(CONF / "evaluate.yaml")
    del config["defaults"], config["hydra"]
    evaluate_command(OmegaConf.merge(config, asked))


def test_a_blend_is_shown_beside_its_runs(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    evaluate(runs=[runs["softmax"], runs["errors"]], liked="all")
    lines = capsys.readouterr().out.splitlines()
    rows = {
        name: [float(x) for x in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?=\s|$)", line)]
        for line in lines
        for name in ("softmax", "errors", "blend")
        if re.search(rf"(/|^){name} +[\d ]", line)
    }
    # Chosen on the validation part, of which a blend is at least as good as either.
    assert rows["blend"][0] >= max(rows["softmax"][1], rows["errors"][1]) - 1e-4
    assert max(rows["softmax"][0], rows["errors"][0]) == 1
    assert len(rows["blend"]) == 4


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (("softmax", "other_split"), "has a different split"),
        (("softmax", "other_data"), "has different ratings"),
        (("softmax", "no_val"), "no validation part"),
        (("softmax",), "one run cannot be blended"),
        (("softmax", "softmax"), "a run is listed twice"),
        ((), "set run=<run directory>, or runs="),
    ],
)
def test_runs_that_cannot_be_blended_are_named(runs, named, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(runs=[runs[name] for name in named])


def test_one_run_or_several(runs):
    with pytest.raises(ConfigError, match="either run="):
        evaluate(run=runs["softmax"], runs=[runs["softmax"], runs["errors"]])

"""The commands in docs/data.md and docs/splits.md can be typed as they stand."""

import re
import shlex
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from support import CONF, REPOSITORY

from lightning_collab.config.cross_validation import cross_validation_config, experiments
from lightning_collab.data.sources import load_ratings
from lightning_collab.data.splits import split_rows
from lightning_collab.tuning.sweep import register_resolvers


def commands(page, script):
    text = (REPOSITORY / "docs" / page).read_text().replace("\\\n", " ")
    found = re.findall(rf"^python scripts/{script}\.py (.*?)(?:\s+#.*)?$", text, re.MULTILINE)
    assert found, f"no command of {script} in {page}"
    return [shlex.split(each) for each in found]


def test_the_example_of_an_own_file_is_read_and_split(run_config, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    typed, _ = commands("data.md", "train")
    config = run_config(*typed, "data.cache=false")
    table = load_ratings(config.data)
    assert len(table) == 119
    assert table.user_vocabulary.ids[0] == "ana"
    assert len(table.item_features) == 10
    rows = split_rows(table, config.split)
    assert min(len(rows.train), len(rows.val), len(rows.test)) > 0


def test_the_example_of_clicks_is_read_and_split(run_config, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    _, typed = commands("data.md", "train")
    config = run_config(*typed, "data.cache=false")
    table = load_ratings(config.data)
    assert table.implicit
    assert table.timestamps is not None
    assert (len(table.user_vocabulary) - 1, len(table.item_vocabulary) - 1) == (60, 40)
    rows = split_rows(table, config.split)
    assert min(len(rows.train), len(rows.val), len(rows.test)) > 0


def test_the_clicks_are_what_their_program_makes():
    folder = REPOSITORY / "docs" / "examples"
    program = [sys.executable, str(folder / "make_clicks.py")]
    made = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert made == (folder / "clicks.csv").read_text()
    assert len(made.splitlines()) == 1_501


@pytest.mark.parametrize("typed", commands("splits.md", "cross_validate"), ids=" ".join)
def test_the_cross_validations_compose(typed):
    register_resolvers()
    typed = [each for each in typed if each != "-m" and not each.startswith(("folds", "hydra/"))]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("cross_validate", typed)
        own = cross_validation_config(
            {key: config[key] for key in ("repeats", "folds")}
            | {"compare": list(config.compare) if config.compare else None}
        )
        named = experiments(own, typed, {"model": "embedding_dot_bias", "experiment": None})
    assert len(named) == len(own.compare or ["one"])


def test_the_example_of_an_own_frame_is_read_and_split(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    text = (REPOSITORY / "docs" / "data.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {}
    exec(example, names)  # our own page
    assert names["data"].source.rows == 119
    assert len(names["data"].table.item_features) == 10

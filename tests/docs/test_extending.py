"""The parts on the page about parts of your own make a run together."""

import re
import sys
from types import ModuleType

import pytest
from support import REPOSITORY, composed

from lightning_collab.config import validated
from lightning_collab.config.registry import REGISTRIES
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train

PAGE = (REPOSITORY / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PACKAGE = REPOSITORY / "tests" / "plugin_package"


@pytest.fixture
def page(monkeypatch):
    """A module with all of its code."""
    module = ModuleType("the_page")
    monkeypatch.setitem(sys.modules, "the_page", module)
    for code in BLOCKS:
        exec(compile(code, "extending.md", "exec"), vars(module))
    return module


def test_its_parts_train_together(page, tmp_path):
    config = validated(
        composed(
            *("model=distance", "split=newcomers", "data=club", "scheduler=inverse_root"),
            *("metrics.further=[within_half]", "callbacks.monitor=val/within_half"),
            *("loss=huber", "trainer.max_epochs=2", "callbacks.progress_bar=false", "logger=none"),
        )
    )
    assert set(config.plugins.values()) == {"module the_page"}
    metrics = train(config, RunDirectory(tmp_path))
    assert metrics["test/rmse"] < 1.5
    assert 0 < metrics["test/within_half"] < 1


def test_it_has_one_of_each_kind(page):
    for group, registry in REGISTRIES.items():
        assert len(registry.names_of_others) == 1, group
        assert f"| {registry.kind}".replace("scheduler", "schedule") in PAGE
        assert f"`{registry.group}` | `register_{registry.kind}` |" in PAGE


def test_the_package_that_it_points_to_has_the_same_names(page):
    offered = (PACKAGE / "pyproject.toml").read_text()
    for registry in REGISTRIES.values():
        for name in registry.names_of_others:
            section = offered.split(f'[project.entry-points."{registry.group}"]\n')[1]
            assert section.startswith(f"{name} = ")

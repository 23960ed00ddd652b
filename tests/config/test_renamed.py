"""Old names of keys and values: read in a saved run, answered on the command line."""

import copy

import pytest
import yaml
from support import composed

from lightning_collab.config import validated
from lightning_collab.config.renamed import new_form, with_new_names
from lightning_collab.errors import ConfigError
from lightning_collab.runs.directory import RunDirectory

FILE = ("data=csv", "data.path=x.csv", "data.test_path=y.csv", "split.val_part=null")
TODAY = composed("split=predefined", *FILE, "optimizer.decay=per_row", "training.row_updates=lazy")


@pytest.fixture
def old():
    """The config of a run, as it was saved under the old names."""
    config = copy.deepcopy(TODAY)
    config["split"]["name"] = "given"
    config["optimizer"]["decay"] = "touched_rows"
    del config["training"]["row_updates"]
    config["training"]["untouched_rows"] = "lazy"
    return config


def test_a_saved_run_is_read_by_todays_names(old, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    assert RunDirectory(tmp_path).read_config() == validated(TODAY)


def test_reading_leaves_what_was_given_and_what_is_new_alone(old):
    before = copy.deepcopy(old)
    assert with_new_names(old) == TODAY
    assert old == before
    assert with_new_names(TODAY) == TODAY
    assert with_new_names({"model": {"name": "x"}, "split": None}) == {
        "model": {"name": "x"},
        "split": None,
    }


def test_every_old_name_that_is_typed_is_answered_with_the_new(old):
    with pytest.raises(ConfigError) as refused:
        validated(old)
    assert sorted(str(refused.value).splitlines()[1:]) == [
        "  optimizer.decay=touched_rows is now optimizer.decay=per_row",
        "  split=given is now split=predefined",
        "  training.untouched_rows=lazy is now training.row_updates=lazy",
    ]


def test_old_values_are_answered_with_new_ones():
    assert new_form("training.untouched_rows", "exact") == (
        "training.untouched_rows=exact is now training.row_updates=dense"
    )
    assert new_form("training.row_updates", "exact") == (
        "training.row_updates=exact is now training.row_updates=dense"
    )
    assert new_form("training.row_updates", "dense") is None
    assert new_form("split", "random") is None


def test_a_run_from_before_there_were_weights_has_read_none():
    # A column that `auto` would take today was not part of its data.
    columns = {"user": "a", "item": "b", "rating": "c", "timestamp": None, "part": None}
    saved = {"data": {"name": "frame", "columns": columns}}
    assert with_new_names(saved)["data"]["columns"] == {**columns, "weight": None}
    today = {"data": {"name": "csv", "columns": {**columns, "weight": "auto"}}}
    assert with_new_names(today) == today

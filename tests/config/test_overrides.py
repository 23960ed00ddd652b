"""Configs from values of Python."""

import os
from datetime import date

import numpy as np
import pytest
from support import CONF, composed

from lightning_collab.config import validated
from lightning_collab.config.overrides import composed_in_python, with_values
from lightning_collab.errors import ConfigError


def test_without_overrides_it_is_what_the_command_composes():
    assert composed_in_python(CONF, {}) == composed()


def test_groups_and_keys_are_those_of_the_command():
    typed = ("optimizer=sgd", "optimizer.lr=0.5", "scheduler=one_cycle", "logger=[csv,tensorboard]")
    given = {"optimizer": "sgd", "optimizer.lr": 0.5, "scheduler": {"name": "one_cycle"}}
    found = composed_in_python(CONF, {**given, "logger": ("csv", "tensorboard")})
    assert found == composed(*typed)


@pytest.mark.parametrize(
    "text", ["${seed}", r"\${seed}", r"\\${seed}", "a=b,c", "null", "[1]", "~"]
)
def test_text_stands_for_itself(text):
    assert composed_in_python(CONF, {"data.root": text})["data"]["root"] == text


def test_what_refers_to_a_key_finds_its_value(tmp_path):
    folder = tmp_path / "conf"
    (folder / "data").mkdir(parents=True)
    (folder / "train.yaml").write_text("defaults: [data: mine]\nsize: 1\ncopy: ${data.text}\n")
    (folder / "data" / "mine.yaml").write_text('twice: ["${size}", "${size}"]\ntext: x\n')
    found = composed_in_python(folder, {"size": 7, "data.text": r"\${size}"})
    assert found["data"]["twice"] == [7, 7]
    assert found["copy"] == r"\${size}"


def test_values_are_taken_as_yaml_would_have_them():
    given = {
        "split": {"name": "temporal", "test_from": date(2020, 1, 2), "test": 0.0, "val": 0.0},
        "data": {"name": "csv", "path": os.fspath("x.csv"), "rating_range": (np.float64(1), 5)},
        "data.columns.timestamp": "t",
        "callbacks.report": None,
    }
    config = validated(composed_in_python(CONF, given))
    assert config.split.test_from == date(2020, 1, 2)
    assert config.data.rating_range == (1.0, 5)
    assert config.callbacks.report is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a.b.c": 1}, r"a\.b is not a section .it is 3"),
        ({"section": "other"}, r"section: is a section; set its keys, such as section\.key"),
        ({"a..b": 1}, "is not a key"),
        ({"resume": "x"}, r"in Python: lightning_collab\.load\(<run directory>\)\.resume"),
        ({"sweep": "net"}, "is for the command"),
    ],
)
def test_keys_that_cannot_be_set(values, message):
    config = {"a": {"b": 3}, "section": {"name": "one", "key": 1}}
    with pytest.raises(ConfigError, match=message):
        with_values(config, values)


def test_a_mapping_is_laid_over_a_section_and_the_config_stays():
    config = {"section": {"name": "one", "inner": {"x": 1, "y": 2}}}
    found = with_values(config, {"section": {"inner": {"y": 3}}, "new.key": [1]})
    assert found == {"section": {"name": "one", "inner": {"x": 1, "y": 3}}, "new": {"key": [1]}}
    assert config["section"]["inner"]["y"] == 2

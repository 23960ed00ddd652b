"""Further callbacks in the config: what is typed, what a run keeps, and what it never runs."""

import re
from pathlib import Path

import pytest
from support import composed

from lightning_collab.config import validated
from lightning_collab.config.plugins import refuse_class_paths
from lightning_collab.errors import ConfigError

ONE = "{_target_: a_package.Callback, every: 2}"


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        (f"callbacks.further=[{ONE}]", "callbacks.further.0"),
        (f"+callbacks.further=[{ONE}]", "callbacks.further.0"),
        (f"callbacks.further={{mine: {ONE}}}", "callbacks.further.mine"),
        (f"+callbacks.further.mine={ONE}", "callbacks.further.mine"),
    ],
)
def test_they_are_typed_in_a_list_or_by_name(typed, key):
    config = validated(composed(typed))
    assert config.callbacks.targets == {key: {"_target_": "a_package.Callback", "every": 2}}


def test_there_are_none_at_first():
    assert validated(composed()).callbacks.targets == {}


def test_one_that_is_null_is_out():
    typed = (f"+callbacks.further.mine={ONE}", "callbacks.further.mine=null")
    assert validated(composed(*typed)).callbacks.targets == {}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("callbacks.further=[{every: 2}]", "callbacks.further.0._target_: set it to <package.mod"),
        ("callbacks.further=[{_target_: Callback}]", "<package.module.Class> (got 'Callback')"),
        ("+callbacks.further.x={_target_: 3}", "callbacks.further.x._target_: set it to"),
        ("callbacks.further=[{_target_: 'os; a.b'}]", "callbacks.further.0._target_: set it to"),
        ("callbacks.further=[a_package.Callback]", "callbacks.further: input should be"),
        ("callbacks.further=3", "callbacks.further: input should be"),
    ],
)
def test_one_that_names_no_class_is_refused(typed, message):
    with pytest.raises(ConfigError) as refused:
        validated(composed(typed))
    assert message in str(refused.value)


def test_a_run_keeps_their_names_as_text():
    config = validated(composed(f"callbacks.further=[{ONE}]"))
    kept = config.as_kept()
    with pytest.raises(ConfigError, match=r"callbacks\.further\.0\._target_ names a class"):
        refuse_class_paths(config.model_dump(mode="json"), Path("config.yaml"))
    refuse_class_paths(kept.model_dump(mode="json"), Path("config.yaml"))
    assert kept.callbacks.further_classes == ["a_package.Callback"]
    assert kept.callbacks.targets == {}
    assert validated(kept.model_dump(mode="json")) == kept.as_kept() == kept
    # One that goes on with another has had both.
    other = kept.callbacks.model_copy(update={"further": [{"_target_": "b.Other"}]})
    assert other.as_kept().further_classes == ["a_package.Callback", "b.Other"]


@pytest.mark.parametrize(
    ("saved", "key"),
    [
        ({"a": {"b": [1, {"c": {"_target_": "os.system"}}]}}, "a.b.1.c._target_"),
        ({"_target_": "os.system"}, "_target_"),
    ],
)
def test_what_would_be_called_is_found_wherever_it_is(saved, key):
    with pytest.raises(ConfigError, match=f"refused: {re.escape(key)} names a class by its path"):
        refuse_class_paths(saved, Path("config.yaml"))


def test_the_word_alone_is_no_target():
    refuse_class_paths({"a": "_target_", "b": ["_target_"], "c": None}, Path("config.yaml"))

"""Further callbacks and loggers in the config: what is typed, kept and never run."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from support import CONF, composed

from lightning_collab.config import validated
from lightning_collab.config.compose import config_error, resumed_config
from lightning_collab.config.plugins import refuse_class_paths
from lightning_collab.config.renamed import with_new_names
from lightning_collab.config.trainer import LoggersConfig
from lightning_collab.errors import ConfigError
from lightning_collab.tuning.sweep import register_resolvers

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


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ([], ["tensorboard"]),
        (["logger=csv"], ["csv"]),
        (["logger=[tensorboard,csv]"], ["tensorboard", "csv"]),
        (["logger=[mlflow,wandb]"], ["wandb", "mlflow"]),
        (["logger=none"], []),
        (["logger=[]"], []),
        (["logger=[csv]", "experiment=lecture_net"], ["csv"]),
    ],
)
def test_each_choice_is_a_section_of_its_name(typed, names):
    config = validated(composed(*typed))
    assert config.logger.names == names
    saved = config.model_dump(mode="json")
    assert list(saved["logger"]) == names
    assert validated(saved) == config


def test_keys_of_a_logger_are_set_below_its_name():
    logger = validated(composed("logger=[csv,wandb]", "logger.wandb.project=films")).logger
    assert (logger.wandb.project, logger.wandb.mode) == ("films", "offline")


def refused(*typed):
    register_resolvers()
    there = initialize_config_dir(str(CONF), version_base="1.3")
    with there, pytest.raises(HydraException) as caught:
        compose("train", list(typed))
    return str(config_error(caught.value, typed))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("logger=tensorbord", "logger=tensorbord: no such option; did you mean 'tensorboard'?"),
        ("logger=[csv,mlflo]", "logger=mlflo: no such option; did you mean 'mlflow'?"),
        (
            "logger.wandb.project=x",
            "logger.wandb: wandb is not one of the loggers; choose it with lo",
        ),
        ("logger.wandb.project=x", "choose it with logger=[tensorboard,wandb]"),
        ("logger.name=none", "logger.name=none is now logger=none"),
    ],
)
def test_what_cannot_be_is_answered(typed, message):
    assert message in refused(typed)


def test_a_wrong_value_is_named():
    with pytest.raises(ConfigError, match=r"logger\.wandb\.mode: input should be 'offline', 'on"):
        validated(composed("logger=wandb", "logger.wandb.mode=sometimes"))


@pytest.mark.parametrize(
    ("before", "names"), [({"name": "tensorboard"}, ["tensorboard"]), ({"name": "none"}, [])]
)
def test_the_config_of_an_earlier_run_has_the_loggers_it_had(before, names):
    saved = {**composed(), "logger": before}
    assert validated(with_new_names(saved)).logger.names == names
    assert saved["logger"] == before


@pytest.fixture
def resumed():
    """The loggers that a run goes on with, from those saved and what is typed."""
    plain = composed()

    def go_on(loggers, *typed):
        saved = {**plain, "logger": loggers}
        with initialize_config_dir(str(CONF), version_base="1.3"):
            whole = compose("train", list(typed), return_hydra_config=True)
            HydraConfig.instance().set_config(whole)
            config = resumed_config(saved, whole, list(typed), "train")
        return LoggersConfig.model_validate(config["logger"])

    yield go_on
    HydraConfig.instance().cfg = None


def test_a_resumed_run_keeps_its_loggers_unless_others_are_typed(resumed):
    saved = {"tensorboard": {}, "wandb": {"project": "films", "tags": ["a"]}}
    assert resumed(saved).names == ["tensorboard", "wandb"]
    assert resumed(saved, "trainer.max_epochs=20").wandb.project == "films"
    assert resumed(saved, "logger=csv").names == ["csv"]
    assert resumed(saved, "logger=none").names == []
    both = resumed(saved, "logger=[csv,wandb]")
    assert both.names == ["csv", "wandb"]
    # What was typed for it once holds.
    assert (both.wandb.project, both.wandb.tags) == ("films", ["a"])
    again = resumed(saved, "logger=[csv,wandb]", "logger.wandb.project=x")
    assert (again.wandb.project, again.wandb.tags) == ("x", ["a"])

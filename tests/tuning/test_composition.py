"""Configs of trials are those that Hydra would compose from the same words."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from support import composed

from lightning_collab.config import validated
from lightning_collab.config.compose import plain
from lightning_collab.errors import ConfigError
from lightning_collab.runs.invocation import hydra_value

PARAMETERS = {
    "model.factors": 17,
    "optimizer.lr": 0.25,
    "optimizer.groups.biases.weight_decay": 1e-7,
    "data.batch_size": "full",
}


def test_single_keys_give_what_hydra_composes(composer):
    trial = composer("trainer.max_epochs=3")
    typed = [f"{key}={value}" for key, value in PARAMETERS.items()]
    expected = composed("trainer.max_epochs=3", *typed)
    assert plain(trial.compose(PARAMETERS)) == expected
    assert trial.run_config(PARAMETERS) == validated(expected)


def test_a_group_is_composed_with_its_own_keys(composer):
    parameters = {"model": "embedding_net", "model.hidden": 7}
    config = composer().run_config(parameters)
    assert config == validated(composed("model=embedding_net", "model.hidden=7"))
    # And the composer still knows the other option.
    assert composer().run_config({}).model.name == "embedding_dot_bias"


def test_interpolations_follow_the_key_that_is_set(composer):
    config = composer("optimizer.weight_decay=${optimizer.lr}").run_config({"optimizer.lr": 0.125})
    assert config.optimizer.weight_decay == 0.125


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model.facters": 3}, "model.facters: unknown key; did you mean 'factors'"),
        ({"model": "embeding_net"}, "embeding_net"),
        ({"model.factors": 0}, "model.factors: input should be greater"),
    ],
)
def test_bad_parameters_are_named(composer, parameters, message):
    with pytest.raises(ConfigError, match=message):
        composer().run_config(parameters)


@given(st.text())
def test_any_text_survives_being_typed(value):
    parsed = OverridesParser.create().parse_override(f"key={hydra_value(value)}").value()
    read = getattr(parsed, "text", parsed)
    assert read == value
    assert type(read) is type(value)

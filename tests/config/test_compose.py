"""What Hydra refuses is answered in the words of all config errors."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from support import CONF

from lightning_collab.commands.entry import register_resolvers
from lightning_collab.config.compose import composed_run, config_error
from lightning_collab.errors import ConfigError


@pytest.fixture
def started():
    """As inside a script that Hydra has started."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def refused(*overrides, config="train"):
    with pytest.raises(HydraException) as caught:
        compose(config, list(overrides))
    return str(config_error(caught.value, overrides))


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("model.factor=3", "model.factor: unknown key; did you mean 'factors'?"),
        ("modl=embedding_net", "modl: unknown key; did you mean 'model'?"),
        ("modl.factors=3", "modl: unknown key; did you mean 'model'?"),
        ("optimizer.groups.bias.lr_scale=3", "optimizer.groups.bias: unknown key; did you mean"),
        ("model=embeding_net", "model=embeding_net: no such option; did you mean 'embedding_net'?"),
        (
            "split=fifths",
            "split=fifths: no such option; known here: cold_items, cold_users, k_fold",
        ),
        ("model.factors=[3", "model.factors=[3: no viable alternative"),
        ("~model.factor", "Could not delete from config. 'model.factor' does not exist."),
        ("training.untouched_rows=exact", "training.untouched_rows=exact is now training.row_upda"),
        ("split=given", "split=given is now split=predefined"),
    ],
)
def test_an_override_that_cannot_be_is_named(started, override, answer):
    message = refused("seed=7", override)
    assert message.startswith("invalid config\n  ")
    assert answer in message
    assert "HYDRA_FULL_ERROR" not in message
    assert "Config search path" not in message


@pytest.mark.parametrize(
    "override", ["features.users.age={kind: history}", "callbacks.early_stopping.patience=3"]
)
def test_a_key_that_may_be_added_is_no_unknown_key(started, override):
    key = override.split("=")[0]
    assert f"{key}: not in the config yet; add it with +{key}=" in refused(override)


def test_a_setting_of_a_torch_optimizer_is_added(started):
    typed = ("optimizer=torch", "optimizer.class_name=RMSprop", "optimizer.settings.alpha=0.9")
    advice = (
        "optimizer.settings.alpha: not in the config yet; add it with +optimizer.settings.alpha"
    )
    assert advice in refused(*typed)
    config = composed_run(*typed[:2], "+optimizer.settings.alpha=0.9")
    assert config.optimizer.settings == {"alpha": 0.9}
    assert composed_run(*typed[:2], "optimizer.settings={alpha: 0.9}") == config


def test_keys_of_other_commands_are_their_own(started):
    assert "top: unknown key; did you mean 'top_k'?" in refused("top=3", config="evaluate")
    assert "model: unknown key" in refused("model.factors=3", config="evaluate")


def test_with_and_without_a_plus_the_words_are_the_same(started):
    with pytest.raises(ConfigError) as added:
        composed_run("+model.factor=3")
    with pytest.raises(ConfigError) as replaced:
        composed_run("model.factor=3")
    assert str(added.value) == str(replaced.value)
    assert str(added.value) == (
        "invalid config\n  model.factor: unknown key; did you mean 'factors'?"
    )

"""What a sweeper is told is checked like any other config."""

import pytest
from omegaconf import OmegaConf

from lightning_collab.errors import ConfigError
from lightning_collab.tuning.settings import StudySettings, checked_settings


@pytest.fixture
def node(composer):
    made = composer("hydra/sweeper=optuna_study")
    return OmegaConf.to_container(made.master.hydra.sweeper, resolve=True)


def test_the_shipped_settings_are_valid(node):
    settings = checked_settings(StudySettings, node)
    assert settings.objectives == ["val/rmse"]
    assert settings.directions == ["minimize"]
    assert settings.prunes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_trials": 0}, r"hydra\.sweeper\.n_trials: "),
        ({"n_trails": 3}, r"hydra\.sweeper\.n_trails: unknown key"),
        ({"objective": "test/rmse"}, "the test part is not looked at"),
        ({"objective": ["val/rmse", "val/mae"]}, "pruning needs a single objective"),
        ({"objective": "fit_seconds"}, "nothing can be pruned by it"),
        ({"direction": ["minimize", "maximize"]}, "names 1 metrics, direction 2"),
        ({"direction": "lower"}, r"hydra\.sweeper\.direction"),
    ],
)
def test_settings_that_make_no_sense_are_named(node, change, message):
    with pytest.raises(ConfigError, match=message):
        checked_settings(StudySettings, node | change)

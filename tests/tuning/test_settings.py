"""What a sweeper is told is checked like any other config."""

import pytest
from omegaconf import OmegaConf
from support import composed

from lightning_collab.config import validated
from lightning_collab.errors import ConfigError
from lightning_collab.tuning.settings import GridSettings, StudySettings, checked_settings


@pytest.fixture
def node(composer):
    made = composer("hydra/sweeper=optuna_study")
    return OmegaConf.to_container(made.master.hydra.sweeper, resolve=True)


def test_the_shipped_settings_are_valid(node):
    settings = checked_settings(StudySettings, node)
    assert settings.objectives == []
    assert settings.prunes


# What is typed of the run, what the sweeper is told, and what is then looked at.
FOLLOWED = [
    ((), {}, (["val/rmse"], ["minimize"])),
    (("loss=softmax",), {}, (["val/ndcg@10"], ["maximize"])),
    (("loss=bpr", "callbacks.monitor=val/gini@20"), {}, (["val/gini@20"], ["minimize"])),
    (("loss=bpr",), {"objective": "val/recall@20"}, (["val/recall@20"], ["maximize"])),
    (("loss=bpr",), {"direction": "minimize"}, (["val/ndcg@10"], ["minimize"])),
    ((), {"objective": "val/mae"}, (["val/mae"], ["minimize"])),
]


@pytest.mark.parametrize(("typed", "told", "expected"), FOLLOWED)
def test_what_is_left_open_follows_the_run(node, typed, told, expected):
    config = validated(composed(*typed))
    settings = checked_settings(StudySettings, node | told).beside(config)
    assert (settings.objectives, settings.directions) == expected
    grid = {"params": {}, "objective": None, "direction": None, "fail_fast": False}
    of_grid = checked_settings(GridSettings, grid | told).beside(config)
    assert ([of_grid.objective], [of_grid.direction]) == expected


def test_several_objectives_have_each_its_best_end(node, composer):
    told = {
        "objective": ["val/ndcg@10", "val/gini@10", "parameters"],
        "pruner": {"_target_": "optuna.pruners.NopPruner"},
    }
    config = validated(composed("loss=softmax"))
    settings = checked_settings(StudySettings, node | told).beside(config)
    assert settings.directions == ["maximize", "minimize", "minimize"]


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

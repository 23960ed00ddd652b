"""Samplers go on with their draws, and pruners are what the config says."""

import optuna
import pytest
from omegaconf import OmegaConf
from support import CONF

from lightning_collab.errors import ConfigError
from lightning_collab.tuning import settings
from lightning_collab.tuning.search_space import search_space
from lightning_collab.tuning.settings import build_pruner, build_sampler

NODES = CONF / "hydra" / "sweeper"
SAMPLERS = sorted(path.stem for path in (NODES / "sampler").glob("*.yaml"))
PRUNERS = sorted(path.stem for path in (NODES / "pruner").glob("*.yaml"))


def node(kind, name):
    return OmegaConf.to_container(OmegaConf.load(NODES / kind / f"{name}.yaml"))


def draws(sampler_node, space, numbers, study):
    """The parameters of some trials, told a value that depends on them."""
    result = []
    for number in numbers:
        study.sampler = build_sampler(sampler_node, space, seed=3, number=number)
        trial = study.ask(space.distributions)
        result.append(dict(trial.params))
        study.tell(trial, sum((float(value) - 2.3) ** 2 for value in trial.params.values()))
    return result


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_resumed_study_goes_on_where_another_would_be(name, config_loader, journal):
    finite = {"a": "range(0,6)", "b": "range(0,6)"}
    endless = {"a": "interval(0,6)", "b": "tag(log,interval(1,6))"}
    space = search_space(finite if name == "grid" else endless, [], config_loader)
    whole = draws(node("sampler", name), space, range(14), optuna.create_study())
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(journal))
    )
    optuna.create_study(study_name="x", storage=storage)
    first = draws(
        node("sampler", name), space, range(7), optuna.load_study(study_name="x", storage=storage)
    )
    again = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    rest = draws(
        node("sampler", name), space, range(7, 14), optuna.load_study(study_name="x", storage=again)
    )
    assert first + rest == whole
    assert len({tuple(each.values()) for each in whole}) == len(whole)


def test_a_grid_visits_every_point_once(config_loader):
    space = search_space({"a": "range(0,3)", "b": "0,1,2,3"}, [], config_loader)
    visited = draws(node("sampler", "grid"), space, range(12), optuna.create_study())
    assert {(each["a"], each["b"]) for each in visited} == {
        (a, b) for a in range(3) for b in range(4)
    }


@pytest.mark.parametrize("name", PRUNERS)
def test_each_pruner_of_the_group_can_be_made(name):
    pruner = build_pruner(node("pruner", name))
    assert isinstance(pruner, optuna.pruners.BasePruner)


@pytest.mark.parametrize(
    "bad",
    [
        {"_target_": "optuna.pruners.NoSuchPruner"},
        {"_target_": "optuna.pruners.MedianPruner", "n_startup": 3},
        {"_target_": "optuna.pruners.PercentilePruner", "percentile": 200.0},
        {"_target_": "optuna.samplers.RandomSampler"},
        {},
    ],
)
def test_what_is_no_pruner_is_refused(bad):
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.pruner"):
        build_pruner(bad)


def test_a_sampler_that_needs_an_extra_names_it(config_loader, monkeypatch):
    space = search_space({"a": "interval(0,6)"}, [], config_loader)
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'lightning-collab\[tuning\]'"):
        build_sampler(node("sampler", "cmaes"), space, seed=3, number=0)
    build_sampler(node("sampler", "tpe"), space, seed=3, number=0)

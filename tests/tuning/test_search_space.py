"""Hydra's grammar and Optuna's distributions."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lightning_collab.errors import ConfigError
from lightning_collab.tuning.search_space import search_space


@pytest.mark.parametrize(
    ("sweep", "distribution"),
    [
        ("interval(0.1,2)", FloatDistribution(0.1, 2.0)),
        ("tag(log,interval(1e-4,1))", FloatDistribution(1e-4, 1.0, log=True)),
        ("int(interval(8,64))", IntDistribution(8, 64)),
        ("tag(log,int(interval(8,64)))", IntDistribution(8, 64, log=True)),
        # Hydra's range does not reach its stop.
        ("range(1,10,3)", IntDistribution(1, 7, step=3)),
        ("range(1,4)", IntDistribution(1, 3)),
        ("range(10,1,-3)", IntDistribution(4, 10, step=3)),
        ("choice(256,512)", CategoricalDistribution([256, 512])),
        ("a,b,a", CategoricalDistribution(["a", "b"])),
        ("true,false", CategoricalDistribution([True, False])),
        ("'a b',c", CategoricalDistribution(["a b", "c"])),
    ],
)
def test_each_sweep_has_its_distribution(sweep, distribution, config_loader):
    for space in (
        search_space({}, [f"key={sweep}"], config_loader),
        search_space({"key": sweep}, [], config_loader),
    ):
        assert space.distributions == {"key": distribution}
        assert space.fixed == ()


def test_a_list_in_yaml_is_a_choice(config_loader):
    space = search_space({"key": [256, "full"]}, [], config_loader)
    assert space.distributions == {"key": CategoricalDistribution([256, "full"])}


def test_what_is_typed_replaces_the_file(config_loader):
    params = {"model.factors": "int(interval(8,64))", "optimizer.lr": "interval(0.1,1)"}
    space = search_space(params, ["optimizer.lr=0.5", "seed=1"], config_loader)
    assert list(space.distributions) == ["model.factors"]
    assert space.fixed == ("optimizer.lr=0.5", "seed=1")


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("interval(2,1)", r"wrong way round; use interval\(1, 2\)"),
        ("tag(log,interval(0,1))", "must begin above 0"),
        ("range(3,3)", "has no value"),
        ("tag(lag,interval(1,2))", "unknown tag lag"),
        ("choice([1,2],3)", "must be a number"),
        ("interval(1", "interval"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_named(sweep, message, config_loader):
    with pytest.raises(ConfigError, match=message) as raised:
        search_space({"optimizer.lr": sweep}, [], config_loader)
    assert "optimizer.lr" in str(raised.value)


def test_corners_hold_both_ends_and_each_choice(config_loader):
    space = search_space({"a": "interval(1,2)", "b": "choice(x,y,z)"}, [], config_loader)
    assert space.corners() == [{"a": 1, "b": "x"}, {"a": 2, "b": "z"}, {"a": 1, "b": "y"}]


def test_a_grid_needs_a_finite_space(config_loader):
    space = search_space({"a": "range(1,4)", "b": "x,y", "c": "range(0,1,0.5)"}, [], config_loader)
    assert space.grid() == {"a": [1, 2, 3], "b": ["x", "y"], "c": [0.0, 0.5]}
    with pytest.raises(ConfigError, match=r"a: a grid needs choice"):
        search_space({"a": "interval(1,4)"}, [], config_loader).grid()

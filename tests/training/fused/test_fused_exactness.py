"""Fused steps are autograd's steps, whatever is combined."""

from copy import deepcopy
from functools import cache

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import composed
from training_engines_reference import (
    by_autograd,
    by_kernels,
    difference,
    made_up_features,
    made_up_ratings,
    module_of,
)

from lightning_collab.config import validated
from lightning_collab.config.optimizer import AdamConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.training.fused.adam_rule import (
    SERIES,
    SERIES_TERMS,
    SUMS,
    adam_catch_up,
    adam_rule,
)

OPTIMIZERS = [
    {"name": "sgd", "lr": 0.03, "momentum": 0.9, "nesterov": False},
    {"name": "sgd", "lr": 0.03, "momentum": 0.9, "nesterov": True},
    {"name": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False},
    {"name": "sgd", "lr": 0.01, "momentum": 0.99, "nesterov": False},
    {"name": "adam", "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    {"name": "adam", "lr": 0.01, "beta1": 0.8, "beta2": 0.99, "eps": 1e-3},
    {"name": "adam", "lr": 0.01, "beta1": 0.0, "beta2": 0.9, "eps": 1e-6},
    {"name": "adam", "lr": 0.01, "beta1": 0.95, "beta2": 0.9, "eps": 1e-6},
    {"name": "adamw", "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
]
SCHEDULERS = [
    {"name": "constant"},
    {"name": "warm_restarts", "cycle_len": 0.4, "cycle_mult": 2, "eta_min": 1e-4},
    {"name": "one_cycle", "warm_up": 0.3, "start_div": 10.0, "end_div": 100.0},
]
MODELS = [
    {"name": "embedding_dot_bias", "output": "sigmoid", "range_margin": 0.2},
    {"name": "embedding_dot_bias", "output": "linear", "range_margin": 0.0},
    {"name": "matrix_product"},
]
NETS = [
    {"name": "embedding_net", "output": "sigmoid", "hidden": 3, "embedding_dropout": 0.0},
    {"name": "embedding_net", "output": "sigmoid", "hidden": 7, "hidden_dropout": 0.2},
    {"name": "embedding_net", "output": "linear", "hidden": 1, "hidden_dropout": 0.0},
]
FEATURES = [("users",), ("items",), ("time",), ("users", "items"), ("users", "items", "time")]

CLOSE = {torch.float64: {"rel": 1e-9}, torch.float32: {"rel": 1e-3, "abs": 1e-6}}


@cache
def base():
    return composed("trainer.max_epochs=1", "scheduler=constant")


@st.composite
def configs(draw, with_features=False, net=False):
    config = deepcopy(base())
    models = NETS if net else MODELS[:2] if with_features else MODELS
    config["model"] = {"factors": 5, "init_range": 0.3, **draw(st.sampled_from(models))}
    optimizer = {**draw(st.sampled_from(OPTIMIZERS))}
    if optimizer["name"] == "sgd" and config["model"].get("output") != "sigmoid":
        # Where the sigmoid does not hold it back a loss that grows would magnify every rounding.
        optimizer["lr"] /= 10
    if optimizer["name"] == "sgd" and with_features:
        # The rows of all features move with those of ids, so that a step goes several times as far.
        optimizer["lr"] /= 4
    decays = ["gradient", "decoupled", "per_row"]
    groups = {
        name: {
            "lr_scale": draw(st.sampled_from([1.0, 0.3, 0.0])),
            "weight_decay": draw(st.sampled_from([None, 0.0, 0.05])),
        }
        for name in (("embeddings", "hidden", "output") if net else ("embeddings", "biases"))
    }
    if config["model"]["name"] == "matrix_product":
        groups = {}
    elif not any(group["lr_scale"] for group in groups.values()):
        groups[list(groups)[-1]]["lr_scale"] = 2.0
    config["optimizer"] = {
        **optimizer,
        "weight_decay": draw(st.sampled_from([0.0, 0.01, 0.2])),
        "decay": "decoupled" if optimizer["name"] == "adamw" else draw(st.sampled_from(decays)),
        "groups": groups,
    }
    config["scheduler"] = draw(st.sampled_from(SCHEDULERS))
    config["trainer"]["gradient_clip_val"] = draw(st.sampled_from([None, None, 0.05]))
    return validated(config)


@settings(max_examples=60)
@given(
    config=configs(),
    size=st.sampled_from([1, 2, 7, 50, 120]),
    step_blocks=st.integers(1, 4),
    double=st.booleans(),
)
def test_an_epoch_of_fused_steps_is_an_epoch_of_autograd(config, size, step_blocks, double):
    ratings = made_up_ratings(120)
    kind, tolerance = (torch.float64, 1e-10) if double else (torch.float32, 1e-4)
    one = by_autograd(config, ratings, size, kind)
    two = by_kernels(config, ratings, size, kind, step_blocks=step_blocks)
    assert difference(one, two) < tolerance
    assert two.losses == pytest.approx(one.losses, **CLOSE[kind])


@settings(max_examples=25)
@given(config=configs(), forth=st.booleans())
def test_either_engine_goes_on_from_the_state_of_the_other(config, forth):
    ratings, more = made_up_ratings(150, seed=1), made_up_ratings(150, seed=2)
    whole = (by_autograd, by_autograd)
    mixed = (by_kernels, by_autograd) if forth else (by_autograd, by_kernels)
    ends = []
    for first, then in (whole, mixed):
        half = first(config, ratings, 4, torch.float64)
        ends.append(then(config, more, 4, torch.float64, state=half, first=38))
    assert difference(*ends) < 1e-10


@settings(max_examples=25)
@given(
    config=configs(net=True),
    size=st.sampled_from([1, 7, 50, 120]),
    step_blocks=st.integers(1, 4),
    double=st.booleans(),
)
def test_steps_of_the_net_are_those_of_autograd_with_the_same_units_dropped(
    config, size, step_blocks, double
):
    test_an_epoch_of_fused_steps_is_an_epoch_of_autograd.hypothesis.inner_test(
        config, size, step_blocks, double
    )


@settings(max_examples=8)
@given(config=configs(net=True), forth=st.booleans())
def test_either_engine_of_the_net_goes_on_from_the_state_of_the_other(config, forth):
    test_either_engine_goes_on_from_the_state_of_the_other.hypothesis.inner_test(config, forth)


@settings(max_examples=60)
@given(
    config=configs(with_features=True),
    kinds=st.sampled_from(FEATURES),
    size=st.sampled_from([1, 2, 7, 50, 120]),
    step_blocks=st.integers(1, 4),
    double=st.booleans(),
)
def test_with_features_too(config, kinds, size, step_blocks, double):
    ratings, features = made_up_ratings(120), made_up_features(*kinds)
    kind, tolerance = (torch.float64, 1e-10) if double else (torch.float32, 1e-4)
    one = by_autograd(config, ratings, size, kind, features=features)
    two = by_kernels(config, ratings, size, kind, features=features, step_blocks=step_blocks)
    assert difference(one, two) < tolerance
    assert two.losses == pytest.approx(one.losses, **CLOSE[kind])


@settings(max_examples=15)
@given(config=configs(with_features=True), kinds=st.sampled_from(FEATURES), forth=st.booleans())
def test_with_features_too_either_engine_goes_on_from_the_other(config, kinds, forth):
    ratings, more = made_up_ratings(150, seed=1), made_up_ratings(150, seed=2)
    features = made_up_features(*kinds)
    whole = (by_autograd, by_autograd)
    mixed = (by_kernels, by_autograd) if forth else (by_autograd, by_kernels)
    ends = []
    for first, then in (whole, mixed):
        half = first(config, ratings, 4, torch.float64, features=features)
        ends.append(then(config, more, 4, torch.float64, state=half, first=38, features=features))
    assert difference(*ends) < 1e-10


def test_lazy_features_stay_as_they_are_while_no_batch_uses_them(run_config):
    config = run_config(
        "optimizer=sgd",
        "optimizer.decay=decoupled",
        "optimizer.lr=0.1",
        "optimizer.weight_decay=0.5",
        "scheduler=constant",
        "model.factors=3",
    )
    ratings = RatingBatch(*(each[:4] for each in made_up_ratings(60, seed=9)[:4]))
    features = made_up_features("users", "items", "time")
    ends = [
        by_autograd(config, ratings, 4, torch.float64, features=features),
        by_kernels(config, ratings, 4, torch.float64, features=features, lazy=True),
    ]
    exact, lazy = (end.weights for end in ends)
    before = module_of(config, 1, torch.float64, features).model.state_dict()
    for side, rows in (("users", ratings.users), ("items", ratings.items)):
        blocks = features[f"{side[:-1]}_features"]
        used = np.concatenate([block.matrix[rows.numpy()].sum(0) > 0 for block in blocks])
        assert 0 < used.sum() < len(used)
        name = f"feature_factors.of_{side}.weight"
        torch.testing.assert_close(lazy[name][used], exact[name][used])
        assert torch.equal(lazy[name][~used], before[name][~used])
        assert not torch.isclose(lazy[name][~used], exact[name][~used]).any()


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.95, 0.9)])
def test_missed_steps_are_summed_where_the_sums_stay_finite(betas):
    """The terms of the series are (beta1 / beta2^(k/2))^gap: from 1 on they grow without bound."""
    config = AdamConfig(name="adam", lr=0.01, beta1=betas[0], beta2=betas[1])
    rule = adam_rule(config, np.full(9000, 0.01), 0.0, 0)
    assert np.isfinite(rule.steps[SUMS:]).all()
    assert rule.numbers[SERIES] == (betas[0] < betas[1] ** (SERIES_TERMS / 2))


@numba.njit
def caught_up(weight, first, second, numbers, steps, start, end):
    """The kernel has no wrapper for calls from Python."""
    adam_catch_up(weight, first, second, numbers, steps, start, end)


@pytest.mark.parametrize("missed", [12, 300])
@pytest.mark.parametrize("decay", ["gradient", "decoupled"])
def test_a_sum_of_missed_steps_is_their_sum_to_the_last_digits(decay, missed):
    """Elements whose sqrt(v) is 50, 100, ... times eps, and nearer to it, at rest, and far.

    The sum leaves out terms from (eps / sqrt(v))^8 on: 3e-14 where sqrt(v) is 50 times eps.
    """
    config = AdamConfig(name="adam", lr=0.01, eps=1e-3, decay=decay)
    random = np.random.default_rng(0)
    rates, done, start, end = random.uniform(0.001, 0.02, 400), 60, 10, 10 + missed
    rule = adam_rule(config, rates, 0.05 if decay == "decoupled" else 0.0, done)
    stretched = 0.999 ** (-(end - start) / 2)
    ratios = np.array([1, 20, 49, 50.01, 60, 80, 100, 200, 1e3, 1e6, 50.01, 50.01])
    second = (1e-3 * stretched * ratios) ** 2
    first = random.normal(size=len(second)) * np.sqrt(second)
    first[-1] = 0.0
    weight = random.normal(size=len(second))
    exact = np.longdouble
    w, m, v = exact(weight), exact(first), exact(second)
    before, beta1, beta2, eps = w.copy(), exact(0.9), exact(0.999), exact(1e-3)
    for step in range(start, end):
        m, v, count = beta1 * m, beta2 * v, done + step + 1
        mean, variance = m / (1 - beta1**count), v / (1 - beta2**count)
        if decay == "decoupled":
            w -= exact(rates[step]) * exact(0.05) * w
        w -= exact(rates[step]) * mean / (np.sqrt(variance) + eps)
    caught_up(weight, first, second, rule.numbers, rule.steps, start, end)
    moved = np.abs(w - before)
    assert (np.abs(weight - w) <= 1e-13 * moved + 4e-15).all()  # and some roundings
    np.testing.assert_allclose(first, m.astype(float), rtol=1e-11, atol=1e-30)
    np.testing.assert_allclose(second, v.astype(float), rtol=1e-12)

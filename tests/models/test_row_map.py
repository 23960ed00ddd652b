"""Maps from features to rows, against the normal equations and torch's own minimiser."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from lightning_collab.models import rating_map, row_map
from lightning_collab.models.rating_map import RatedRows, fit_rating_map
from lightning_collab.models.rating_output import Output
from lightning_collab.models.row_map import RowMap, fit_row_map


@pytest.fixture
def made():
    random = np.random.default_rng(3)
    features = (random.random((60, 5)) < 0.4) * random.uniform(0.5, 1, (60, 5))
    truth = random.normal(size=(5, 3))
    rows = 0.5 + features @ truth + 0.1 * random.normal(size=(60, 3))
    return csr_array(features.astype(np.float32)), rows, random.integers(1, 20, 60)


def test_a_row_map_is_weighted_ridge_regression_with_a_free_intercept(made, monkeypatch):
    features, rows, weights = made
    monkeypatch.setattr(row_map, "PENALTIES", (0.01,))
    found = fit_row_map(features, rows, weights, np.eye(3))
    x = np.c_[np.ones(60), features.toarray().astype(np.float64)]
    ridge = 0.01 * weights.sum() * np.diag([0, 1, 1, 1, 1, 1])
    expected = np.linalg.solve(
        x.T @ (weights[:, None] * x) + ridge, x.T @ (weights[:, None] * rows)
    )
    np.testing.assert_allclose(found.intercept, expected[0], atol=1e-8)
    np.testing.assert_allclose(found.coefficients, expected[1:], atol=1e-8)
    np.testing.assert_allclose(found.rows(features), x @ expected, atol=1e-6)


def test_the_penalty_is_that_of_the_least_error_on_rows_left_out(made, monkeypatch):
    features, rows, weights = made
    metric = np.diag([4.0, 1.0, 0.0])
    found = fit_row_map(features, rows, weights, metric)
    errors = []
    for penalty in row_map.PENALTIES:
        monkeypatch.setattr(row_map, "PENALTIES", (penalty,))
        error = 0.0
        for fold in range(row_map.FOLDS):
            out = np.arange(60) % row_map.FOLDS == fold
            own = fit_row_map(csr_array(features[~out]), rows[~out], weights[~out], metric)
            missed = rows[out] - own.rows(csr_array(features[out]))
            error += weights[out] @ ((missed @ metric) * missed).sum(1)
        errors.append(error)
        monkeypatch.undo()
    assert found.penalty == row_map.PENALTIES[int(np.argmin(errors))]


def test_without_a_metric_errors_are_those_of_the_rows(made):
    features, rows, weights = made
    assert fit_row_map(features, rows, weights, None).penalty == (
        fit_row_map(features, rows, weights, np.eye(3)).penalty
    )


def test_features_that_say_nothing_leave_the_weighted_mean(made):
    _, _, weights = made
    rows = np.random.default_rng(0).normal(size=(60, 2))
    noise = csr_array(np.random.default_rng(1).normal(size=(60, 40)).astype(np.float32))
    found = fit_row_map(noise, rows, weights, np.eye(2))
    mean = weights @ rows / weights.sum()
    assert np.abs(found.rows(noise) - mean).max() < 0.2 * np.abs(rows - mean).max()


@pytest.mark.parametrize("sigmoid", [False, True])
def test_a_rating_map_makes_its_objective_least(made, monkeypatch, sigmoid):
    features, _, _ = made
    random = np.random.default_rng(5)
    counts = random.integers(0, 15, 60)
    starts = np.concatenate([[0], np.cumsum(counts)])
    vectors = np.c_[random.normal(size=(30, 3)), np.ones(30)]
    levels = 0.3 * random.normal(size=30)
    output = Output(sigmoid=sigmoid, low=1.0 if sigmoid else 3.0, span=4.0 if sigmoid else 1.0)
    others = random.integers(0, 30, starts[-1]).astype(np.int32)
    rated = RatedRows(starts, others, random.uniform(1, 5, starts[-1]), vectors, levels, output)
    monkeypatch.setattr(rating_map, "PENALTIES", (10.0,))
    monkeypatch.setattr(rating_map, "STEPS", 25)
    start = RowMap(np.zeros(4), np.zeros((5, 4)), 0.0)
    found = fit_rating_map(rated, features, start)

    x = torch.tensor(np.c_[np.ones(60), features.toarray()]).double()
    rows = torch.tensor(np.repeat(np.arange(60), counts))
    fixed, level = torch.tensor(vectors[others]), torch.tensor(levels[others])
    ratings = torch.tensor(rated.ratings)

    def objective(unknowns):
        raw = ((x @ unknowns)[rows] * fixed).sum(1) + level
        rating = 1.0 + 4.0 * torch.sigmoid(raw) if sigmoid else 3.0 + raw
        return (ratings - rating).square().sum() + 10.0 * unknowns[1:].square().sum()

    unknowns = torch.tensor(np.r_[found.intercept[None], found.coefficients], requires_grad=True)
    (gradient,) = torch.autograd.grad(objective(unknowns), unknowns)
    assert gradient.abs().max() < 1e-4 * starts[-1]
    with torch.no_grad():
        for seed in range(5):
            moved = unknowns + 0.01 * torch.randn(
                6, 4, generator=torch.Generator().manual_seed(seed)
            )
            assert objective(moved) > objective(unknowns)


def test_the_penalty_of_a_rating_map_follows_the_ratings(made):
    """Where rows follow from features exactly, little is to be held back; where not, much."""
    features, _, _ = made
    random = np.random.default_rng(7)
    vectors = np.c_[random.normal(size=(40, 2)), np.ones(40)]
    starts = np.arange(61) * 20
    others = random.integers(0, 40, 1200).astype(np.int32)
    of_rows = np.repeat(np.arange(60), 20)
    linear = Output(sigmoid=False, low=3.0, span=1.0)
    start = RowMap(np.zeros(3), np.zeros((5, 3)), 0.0)
    penalties = []
    for rows in (features @ random.normal(size=(5, 3)), random.normal(size=(60, 3))):
        ratings = 3.0 + (rows[of_rows] * vectors[others]).sum(1) + 0.05 * random.normal(size=1200)
        rated = RatedRows(starts, others, ratings, vectors, np.zeros(40), linear)
        penalties.append(fit_rating_map(rated, features, start).penalty)
    assert penalties[0] == rating_map.PENALTIES[0] < penalties[1]

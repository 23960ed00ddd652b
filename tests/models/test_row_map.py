"""Maps from features to rows, against the normal equations and torch's minimiser; drawn rows."""

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import rating_map, row_map
from lightning_collab.models.bayesian_factors import BayesianFactors
from lightning_collab.models.cold_rows import ColdSide
from lightning_collab.models.config import BayesianFactorsConfig
from lightning_collab.models.rating_map import RatedRows, fit_rating_map
from lightning_collab.models.rating_output import DatasetStatistics, Output
from lightning_collab.models.row_map import RowMap, SampledMaps, fit_row_map


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
@pytest.mark.parametrize("count", [5, 0], ids=["features", "none"])
def test_a_rating_map_makes_its_objective_least(made, monkeypatch, sigmoid, count):
    features = made[0][:, :count]
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
    start = RowMap(np.zeros(4), np.zeros((count, 4)), 0.0)
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
                1 + count, 4, generator=torch.Generator().manual_seed(seed)
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


SAMPLES, ROWS, WIDTH, FEATURES = 3, 200, 2, 4


@pytest.fixture
def drawn_rows():
    random = np.random.default_rng(0)
    features = csr_array((random.random((ROWS, FEATURES)) < 0.5).astype(np.float32))
    truth = random.normal(size=(SAMPLES, FEATURES, WIDTH))
    root = np.array([[0.5, 0.0], [0.3, 0.2]])
    rows = np.stack(
        [features @ each + random.normal(size=(ROWS, WIDTH)) @ root.T for each in truth]
    ).astype(np.float32)
    others = random.normal(size=(SAMPLES, 50, WIDTH)).astype(np.float32)
    weights = random.integers(1, 9, ROWS)
    return features, rows, others, weights, root


def test_each_sample_has_its_own_regression_and_what_it_leaves_open(drawn_rows):
    features, rows, others, weights, root = drawn_rows
    found = SampledMaps.fit(features, rows, others, weights)
    for number in range(SAMPLES):
        met = np.c_[np.ones(50), others[number, :, 1:]].astype(np.float64)
        alone = fit_row_map(features, rows[number].astype(np.float64), weights, met.T @ met / 50)
        np.testing.assert_allclose(found.coefficients[number], alone.coefficients, atol=1e-5)
        left = rows[number] - alone.rows(features)
        covariance = (left.T * weights) @ left / weights.sum()
        expected = found.roots[number] @ found.roots[number].T
        np.testing.assert_allclose(expected, covariance, atol=1e-5)
        np.testing.assert_allclose(covariance, root @ root.T, atol=0.1)


def test_draws_are_of_the_id_and_spread_as_they_should(drawn_rows):
    features, rows, others, weights, _ = drawn_rows
    found = SampledMaps.from_state(SampledMaps.fit(features, rows, others, weights).state())
    ids = pl.Series(range(4000))
    empty = csr_array((4000, FEATURES), dtype=np.float32)
    drawn = found.draw(empty, ids)
    for number in range(SAMPLES):
        noise = drawn[number] - found.intercepts[number]
        np.testing.assert_allclose(noise.mean(0), 0, atol=0.05)
        expected = found.roots[number] @ found.roots[number].T
        np.testing.assert_allclose(np.cov(noise.T), expected, atol=0.03)
    # Whichever others there are beside it, an id has the same rows.
    some = found.draw(csr_array(empty[:2]), pl.Series([17, 3]))
    np.testing.assert_array_equal(some, drawn[:, [17, 3]])
    with_features = found.draw(csr_array(features[:1]), pl.Series([17]))[:, 0]
    moved = np.stack([(features[[0]] @ each)[0] for each in found.coefficients])
    np.testing.assert_allclose(with_features - some[:, 0], moved, atol=1e-5)


def test_further_ids_are_drawn_and_their_means_kept_beside_the_tables(drawn_rows):
    features, rows, others, weights, _ = drawn_rows
    sampled = SampledMaps.fit(features, rows, others, weights)
    side = ColdSide(
        described_by=(),
        blocks=(),
        # Not to be used where rows are drawn.
        map=RowMap(np.full(WIDTH, np.nan), np.zeros((0, WIDTH)), 0.0),
        unknown=np.zeros(WIDTH, np.float32),
        widths={"biases": 1, "factors": 1},
        mapped=False,
        ids=pl.Series("item", [5], dtype=pl.Int64),
        rows=np.zeros((1, WIDTH), np.float32),
        features=None,
        sampled=sampled._replace(coefficients=sampled.coefficients[:, :0]),
        samples=np.ones((SAMPLES, 1, WIDTH), np.float32),
    )
    found = side.with_ids(pl.DataFrame({"item": [9, 3]}))
    drawn = side.sampled.draw(csr_array((2, 0), dtype=np.float32), pl.Series([3, 9]))
    assert found.ids.to_list() == [3, 5, 9]
    np.testing.assert_array_equal(found.samples[:, [0, 2]], drawn)
    np.testing.assert_array_equal(found.samples[:, 1], side.samples[:, 0])
    # The tables have the bias last, samples have it first.
    np.testing.assert_allclose(found.rows[[0, 2], ::-1], drawn.mean(0), atol=1e-6)


def test_a_model_of_samples_predicts_its_further_rows():
    config = BayesianFactorsConfig(name="bayesian_factors", factors=2, samples=5, burn_in=0)
    model = BayesianFactors(config, DatasetStatistics(4, 5, (1.0, 5.0), 3.0)).eval()
    model.kept.fill_(3)
    generator = torch.Generator().manual_seed(0)
    for name in ("user_samples", "item_samples"):
        getattr(model, name).copy_(torch.randn(getattr(model, name).shape, generator=generator))
    model.user_noise.fill_(1.0)
    model.item_noise.copy_(torch.tensor([1.0, 0.5, 1.5, 1.0, 1.0]))
    model.noise_variance.fill_(0.25)
    rows = torch.randn(3, 2, 3, generator=generator)
    model.append("items", rows)
    batch = RatingBatch(torch.tensor([2]), torch.tensor([6]), torch.zeros(1))
    users, items = model.user_samples[:3, 2], rows[:, 1]
    of_samples = users[:, 0] + items[:, 0] + (users[:, 1:] * items[:, 1:]).sum(1)
    found, deviation = model.predict_with_deviation(batch)
    assert found.item() == pytest.approx(3.0 + of_samples.mean().item(), abs=1e-5)
    variance = of_samples.var(correction=0).item() + 0.25 * 1.0
    assert deviation.item() == pytest.approx(variance**0.5, abs=1e-5)
    assert model.item_samples.shape == (5, 7, 3)

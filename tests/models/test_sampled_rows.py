"""Rows of cold ids that are drawn for each sample."""

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models.bayesian_factors import BayesianFactors
from lightning_collab.models.cold_rows import ColdSide
from lightning_collab.models.config import BayesianFactorsConfig
from lightning_collab.models.rating_output import DatasetStatistics
from lightning_collab.models.row_map import RowMap, fit_row_map
from lightning_collab.models.sampled_rows import SampledMaps

SAMPLES, ROWS, WIDTH, FEATURES = 3, 200, 2, 4


@pytest.fixture
def made():
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


def test_each_sample_has_its_own_regression_and_what_it_leaves_open(made):
    features, rows, others, weights, root = made
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


def test_draws_are_of_the_id_and_spread_as_they_should(made):
    features, rows, others, weights, _ = made
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


def test_further_ids_are_drawn_and_their_means_kept_beside_the_tables(made):
    features, rows, others, weights, _ = made
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

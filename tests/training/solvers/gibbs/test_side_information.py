import numpy as np
import pytest
from gibbs_formulas import assert_uniform, of_a_precision
from scipy.sparse import csc_array, hstack, random_array

from lightning_collab.training.solvers.gibbs.conditionals import Streams
from lightning_collab.training.solvers.gibbs.priors import (
    GammaPrior,
    JointRegression,
    RowwiseRegression,
)

LAMBDA = 1.3
SHAPES = {"narrow": (9, 4), "wide": (5, 8)}
KINDS = {"joint": JointRegression, "rowwise": RowwiseRegression}


def example(shape, width=2):
    random = np.random.default_rng(1)
    features = csc_array(random_array(shape, density=0.5, rng=random, format="csc"))
    features.data = features.data.astype(np.float32)
    left = random.normal(size=(shape[0], width))
    root = np.linalg.cholesky(np.array([[2.0, 0.6], [0.6, 1.0]]))
    return features, left, root


def closed_form(features, left, root):
    """Mean and covariance of F B for prior rows N(0, (LAMBDA P)^-1) and noise rows N(0, P^-1)."""
    dense = features.toarray().astype(np.float64)
    inner = np.linalg.inv(dense.T @ dense + LAMBDA * np.eye(dense.shape[1]))
    mean = dense @ inner @ dense.T @ left
    covariance = np.kron(dense @ inner @ dense.T, np.linalg.inv(root @ root.T))
    return mean, covariance


def draws(regression, left, root, count):
    mapped = np.empty((count, left.size))
    pinned = GammaPrior(1e12, 1e12 / LAMBDA)  # so that lambda stays what it is
    regression.precision = LAMBDA
    for number in range(count):
        regression.draw(left, root, pinned, Streams(0, number))
        mapped[number] = regression.mapped.ravel()
    return mapped


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_both_links_have_the_distribution_of_the_regression(kind, shape):
    features, left, root = example(SHAPES[shape])
    mean, covariance = closed_form(features, left, root)
    count = 6000
    found = draws(KINDS[kind]("x", features, 2), left, root, count)
    # Draws feature by feature depend on one another a little.
    error = 7 * np.sqrt(np.diag(covariance) / count)
    assert (np.abs(found.mean(0) - mean.ravel()) < error + 1e-9).all()
    assert np.cov(found.T) == pytest.approx(covariance, abs=0.08 * covariance.max())


def test_features_that_follow_from_others_add_no_direction():
    features, left, root = example(SHAPES["narrow"])
    doubled = csc_array(hstack([features, features[:, [0, 2]]], format="csc"))
    regression = JointRegression("x", doubled, 2)
    rank = np.linalg.matrix_rank(doubled.toarray())
    assert len(regression.matrix) == rank < doubled.shape[1]
    mean, covariance = closed_form(doubled, left, root)
    found = draws(regression, left, root, 6000)
    assert found.mean(0) == pytest.approx(mean.ravel(), abs=0.05)
    assert np.cov(found.T) == pytest.approx(covariance, abs=0.08 * covariance.max())


def test_noise_injection_is_a_draw_from_the_closed_form():
    """(F'F + lambda I) B = F'(W + E1) + sqrt(lambda) E2, solved with dense matrices."""
    features, left, root = example(SHAPES["narrow"])
    dense = features.toarray().astype(np.float64)
    random = np.random.default_rng(4)
    inverse_root = np.linalg.inv(root.T)
    mapped = []
    for _ in range(6000):
        one, two = (random.normal(size=(n, 2)) @ inverse_root.T for n in dense.shape)
        right = dense.T @ (left + one) + np.sqrt(LAMBDA) * two
        matrix = np.linalg.solve(dense.T @ dense + LAMBDA * np.eye(dense.shape[1]), right)
        mapped.append((dense @ matrix).ravel())
    ours = draws(JointRegression("x", features, 2), left, root, 6000)
    assert ours.mean(0) == pytest.approx(np.mean(mapped, 0), abs=0.05)
    assert np.cov(ours.T) == pytest.approx(np.cov(np.array(mapped).T), abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mapped_features_are_the_product_with_the_matrix(kind):
    features, left, root = example(SHAPES["narrow"])
    regression = KINDS[kind]("x", features, 2)
    regression.draw(left, root, GammaPrior(1, 1), Streams(0, 0))
    again = KINDS[kind]("x", features, 2)
    again.restore(regression.matrix, regression.precision)
    assert np.array_equal(again.mapped, regression.mapped)
    if kind == "rowwise":
        assert regression.mapped == pytest.approx(features @ regression.matrix)


def test_directions_that_no_row_has_are_left_out():
    features, _, _ = example(SHAPES["wide"])
    assert len(JointRegression("x", features, 2).matrix) == np.linalg.matrix_rank(
        features.toarray()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_precision_is_drawn_given_all_entries_of_the_matrix(kind):
    features, left, root = example(SHAPES["narrow"])
    regression, prior = KINDS[kind]("x", features, 2), GammaPrior(2.0, 3.0)
    found = []
    for number in range(500):
        regression.draw(left, root, prior, Streams(0, number))
        # Each row of the matrix is N(0, (lambda P)^-1) for P = root root'.
        found.append(of_a_precision(regression.precision, prior, regression.matrix @ root))
    assert_uniform(found)

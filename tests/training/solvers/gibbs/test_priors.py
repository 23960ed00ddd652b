import numpy as np
import pytest
from gibbs_formulas import assert_uniform, of_a_precision, of_a_row_prior, of_noise_multiples
from scipy import stats
from scipy.sparse import csc_array, hstack, random_array

from lightning_collab.training.solvers.gibbs.conditionals import Streams
from lightning_collab.training.solvers.gibbs.priors import (
    SHAPES,
    GammaPrior,
    Hyperpriors,
    JointRegression,
    RowNoise,
    RowPrior,
    RowwiseRegression,
    _wishart_root,
)


def test_the_constants_are_those_of_the_page():
    """docs/bayesian-factors.md: weak priors of precisions, half-t deviations, K + 2 degrees."""
    weak, half_t = GammaPrior(0.01, 0.01), GammaPrior(1 / 2, 0.01)
    assert Hyperpriors() == Hyperpriors(weak, weak, weak, half_t, 2.0, 1.0)
    factors = 3
    # A row has a bias beside its factors: K + 1 entries, and as many degrees as K + 2.
    assert RowPrior(1 + factors, Hyperpriors()).degrees == factors + 2


def test_the_wishart_draw_has_the_moments_of_the_wishart():
    inverse = np.array([[2.0, 0.5], [0.5, 1.0]])
    random = np.random.default_rng(0)
    roots = [_wishart_root(inverse, 7.0, random) for _ in range(20000)]
    drawn = np.array([root @ root.T for root in roots])
    theirs = stats.wishart(7, np.linalg.inv(inverse))
    assert drawn.mean(0) == pytest.approx(theirs.mean(), rel=0.05)
    assert drawn.var(0) == pytest.approx(theirs.var(), rel=0.08)


def test_many_rows_tell_their_mean_and_precision():
    random = np.random.default_rng(1)
    precision = np.array([[3.0, 1.0], [1.0, 2.0]])
    rows = random.multivariate_normal([0.3, -2.0], np.linalg.inv(precision), 20000)
    prior = RowPrior(2, Hyperpriors())
    prior.draw(rows, np.zeros((2, 2)), 0, random)
    assert prior.mean == pytest.approx([0.3, -2.0], abs=0.03)
    assert prior.precision == pytest.approx(precision, rel=0.06)


def test_few_rows_and_links_leave_the_prior_its_weight():
    random = np.random.default_rng(6)
    constants = Hyperpriors(scales=GammaPrior(2.0, 1.5), degrees=3.0, mean_weight=2.0)
    rows = np.array([[4.0, -1.0], [5.0, 0.5], [3.5, 0.0]])
    matrix, scales = random.normal(size=(5, 2)), np.array([0.7, 2.0])
    prior = RowPrior(2, constants)
    found = []
    for _ in range(500):
        prior.scales = scales
        prior.draw(rows, 1.7 * matrix.T @ matrix, len(matrix), random)
        found.append(of_a_row_prior(prior, scales, rows, [(1.7, matrix)], constants))
    for name in found[0]:
        assert_uniform([each[name] for each in found], name)


def test_a_precision_is_drawn_from_its_gamma_distribution():
    random = np.random.default_rng(0)
    prior, values = GammaPrior(2.0, 3.0), np.array([1.0, -2.0, 1.5, 0.5])
    squares = (values**2).sum()
    drawn = np.array([prior.draw(len(values), squares, random) for _ in range(5000)])
    assert_uniform(of_a_precision(drawn, prior, values))


def test_few_ratings_leave_the_noise_of_a_row_its_prior():
    random = np.random.default_rng(3)
    counts, squares = random.integers(0, 6, 5001).astype(float), random.uniform(0, 9, 5001)
    noise = RowNoise(5001, learnt=True)
    shape = noise.shape
    noise.draw(counts, squares, random)
    assert_uniform(of_noise_multiples(noise.multiples[1:], shape, counts[1:], squares[1:]))


class KnownNoise:
    """A generator that draws known multiples, and tells with which chances a shape is drawn."""

    def __init__(self, multiples):
        self.multiples = multiples

    def gamma(self, shape):
        return self.multiples * shape

    def choice(self, values, p):
        self.chances = p
        return values[0]


def test_the_shape_is_drawn_by_how_likely_it_makes_the_multiples():
    multiples = np.array([9.0, 0.4, 1.7, 0.9])
    random, noise = KnownNoise(multiples), RowNoise(4, learnt=True)
    # As many squares as ratings: what is drawn is what the generator is told.
    noise.draw(np.full(4, 3.0), np.full(4, 3.0), random)
    assert noise.multiples[1:] == pytest.approx(multiples[1:])
    likely = [stats.gamma(k, scale=1 / k).pdf(multiples[1:]).prod() for k in SHAPES]
    assert random.chances == pytest.approx(np.array(likely) / np.sum(likely), rel=1e-9)


def test_many_ratings_tell_the_noise_of_each_row_and_how_much_rows_differ():
    random = np.random.default_rng(2)
    true = random.gamma(4.0, size=3001) / 4.0
    counts = np.full(3001, 200.0)
    squares = random.chisquare(200, 3001) / true
    noise = RowNoise(3001, learnt=True)
    for _ in range(20):
        noise.draw(counts, squares, random)
    assert np.corrcoef(noise.multiples[1:], true[1:])[0, 1] > 0.93
    assert noise.shape == pytest.approx(4.0, rel=0.15)
    assert noise.multiples[0] == 1
    assert noise.shape in SHAPES


def test_noise_that_is_not_learnt_stays_one():
    noise = RowNoise(5, learnt=False)
    noise.draw(np.ones(5), np.ones(5), np.random.default_rng(0))
    assert (noise.multiples == 1).all()


LAMBDA = 1.3
SIDES_AND_BLOCKS = {"narrow": (9, 4), "wide": (5, 8)}
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


@pytest.mark.parametrize("shape", SIDES_AND_BLOCKS)
@pytest.mark.parametrize("kind", KINDS)
def test_both_links_have_the_distribution_of_the_regression(kind, shape):
    features, left, root = example(SIDES_AND_BLOCKS[shape])
    mean, covariance = closed_form(features, left, root)
    count = 6000
    found = draws(KINDS[kind]("x", features, 2), left, root, count)
    # Draws feature by feature depend on one another a little.
    error = 7 * np.sqrt(np.diag(covariance) / count)
    assert (np.abs(found.mean(0) - mean.ravel()) < error + 1e-9).all()
    assert np.cov(found.T) == pytest.approx(covariance, abs=0.08 * covariance.max())


def test_features_that_follow_from_others_add_no_direction():
    features, left, root = example(SIDES_AND_BLOCKS["narrow"])
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
    features, left, root = example(SIDES_AND_BLOCKS["narrow"])
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
    features, left, root = example(SIDES_AND_BLOCKS["narrow"])
    regression = KINDS[kind]("x", features, 2)
    regression.draw(left, root, GammaPrior(1, 1), Streams(0, 0))
    again = KINDS[kind]("x", features, 2)
    again.restore(regression.matrix, regression.precision)
    assert np.array_equal(again.mapped, regression.mapped)
    if kind == "rowwise":
        assert regression.mapped == pytest.approx(features @ regression.matrix)


def test_directions_that_no_row_has_are_left_out():
    features, _, _ = example(SIDES_AND_BLOCKS["wide"])
    assert len(JointRegression("x", features, 2).matrix) == np.linalg.matrix_rank(
        features.toarray()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_precision_is_drawn_given_all_entries_of_the_matrix(kind):
    features, left, root = example(SIDES_AND_BLOCKS["narrow"])
    regression, prior = KINDS[kind]("x", features, 2), GammaPrior(2.0, 3.0)
    found = []
    for number in range(500):
        regression.draw(left, root, prior, Streams(0, number))
        # Each row of the matrix is N(0, (lambda P)^-1) for P = root root'.
        found.append(of_a_precision(regression.precision, prior, regression.matrix @ root))
    assert_uniform(found)

import numpy as np
import pytest
from gibbs_formulas import assert_uniform, of_a_precision, of_a_row_prior, of_noise_multiples
from scipy import stats

from lightning_collab.training.solvers.gibbs.priors import (
    SHAPES,
    GammaPrior,
    Hyperpriors,
    RowNoise,
    RowPrior,
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

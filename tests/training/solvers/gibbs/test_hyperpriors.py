import numpy as np
import pytest
from scipy import stats

from lightning_collab.training.solvers.gibbs.hyperpriors import (
    SHAPES,
    Hyperpriors,
    RowNoise,
    RowPrior,
    _wishart_root,
)


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

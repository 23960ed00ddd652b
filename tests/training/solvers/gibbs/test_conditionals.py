import numpy as np
import pytest
from scipy import stats

from lightning_collab.training.solvers.gibbs.conditionals import (
    Streams,
    draw_rows,
    normals,
    residuals,
    weighted_sums,
)


def test_numbers_are_standard_normal_and_independent():
    drawn = normals(20000, 5, np.uint64(7))
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 0.01
    assert np.abs(np.corrcoef(drawn.T) - np.eye(5)).max() < 0.03
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.03
    assert abs(stats.kurtosis(drawn.ravel())) < 0.05


def test_neighboring_streams_have_nothing_in_common():
    streams = [Streams(1, 0), Streams(1, 1), Streams(2, 0)]
    keys = [s.key() for s in streams for _ in range(2)]
    drawn = np.array([normals(5000, 1, key)[:, 0] for key in keys])
    assert np.abs(np.corrcoef(drawn) - np.eye(6)).max() < 0.06


def test_a_row_has_its_numbers_whatever_rows_there_are():
    assert np.array_equal(normals(3, 4, np.uint64(5)), normals(90, 4, np.uint64(5))[:3])


def test_the_same_sweep_draws_the_same():
    one, two = Streams(3, 8), Streams(3, 8)
    assert one.key() == two.key()
    assert one.generator().random() == two.generator().random()


WIDTH = 4


class Problem:
    """Five users of seven items, with priors and noises of their own."""

    def __init__(self, seed=0):
        random = np.random.default_rng(seed)
        self.counts = np.array([0, 6, 1, 0, 7, 3])
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])
        self.other = random.integers(1, 8, self.starts[-1]).astype(np.int32)
        self.target = random.normal(size=self.starts[-1])
        self.others = random.normal(size=(8, WIDTH))
        self.prior_mean = random.normal(size=(6, WIDTH))
        root = random.normal(size=(WIDTH, WIDTH))
        self.precision = root @ root.T + np.eye(WIDTH)
        self.own_noise = random.uniform(0.5, 2, 6)
        self.other_noise = random.uniform(0.5, 2, 8)

    def drawn(self, key):
        rows = np.full((6, WIDTH), 9.0)
        draw_rows(
            rows,
            self.others,
            self.starts,
            self.other,
            self.target,
            self.prior_mean,
            self.precision,
            self.own_noise,
            self.other_noise,
            1.7,
            np.uint64(key),
        )
        return rows

    def exact(self, row):
        """Mean and precision of a row by the textbook: a regression on [1, q_i]."""
        mine = slice(self.starts[row], self.starts[row + 1])
        others = self.others[self.other[mine]]
        x = np.column_stack([np.ones(len(others)), others[:, 1:]])
        y = self.target[mine] - others[:, 0]
        weights = 1.7 * self.own_noise[row] * self.other_noise[self.other[mine]]
        precision = self.precision + x.T @ np.diag(weights) @ x
        right = self.precision @ self.prior_mean[row] + x.T @ (weights * y)
        return np.linalg.solve(precision, right), precision


@pytest.mark.parametrize("row", [1, 2, 3, 4, 5])
def test_a_row_is_drawn_from_its_conditional_distribution(row):
    problem = Problem()
    mean, precision = problem.exact(row)
    # The draw is mean + L'^-1 z for the precision L L', with the numbers z of this row.
    z = normals(6, WIDTH, np.uint64(11))[row]
    expected = mean + np.linalg.solve(np.linalg.cholesky(precision).T, z)
    assert problem.drawn(11)[row] == pytest.approx(expected, abs=1e-10)


def test_draws_have_the_mean_and_the_covariance_of_the_conditional():
    problem = Problem()
    mean, precision = problem.exact(4)
    draws = np.array([problem.drawn(key)[4] for key in range(8000)])
    covariance = np.linalg.inv(precision)
    assert draws.mean(0) == pytest.approx(mean, abs=5 * np.sqrt(covariance.max() / 8000))
    assert np.cov(draws.T) == pytest.approx(covariance, abs=0.06 * covariance.max())


def test_the_unknown_row_is_left_alone():
    assert (Problem().drawn(1)[0] == 9).all()


def test_residuals_are_what_rows_and_biases_leave():
    problem = Problem()
    rows = np.random.default_rng(2).normal(size=(6, WIDTH))
    left = residuals(rows, problem.others, problem.starts, problem.other, problem.target)
    own = np.repeat(np.arange(6), problem.counts)
    u, i = rows[own], problem.others[problem.other]
    expected = problem.target - u[:, 0] - i[:, 0] - (u[:, 1:] * i[:, 1:]).sum(1)
    assert left == pytest.approx(expected, abs=1e-12)


def test_sums_by_group_are_weighted_by_both_noises():
    random = np.random.default_rng(3)
    groups, own, other = random.integers(0, 4, (3, 50))
    values, a, b = random.normal(size=50), random.uniform(size=4), random.uniform(size=4)
    weights, sums = weighted_sums(groups, values, own, a, other, b, 5)
    assert weights == pytest.approx(np.bincount(groups, a[own] * b[other], 5))
    assert sums == pytest.approx(np.bincount(groups, a[own] * b[other] * values, 5))

"""Priors of priors: weak, in units of the ratings' standard deviation, the same for any data."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln

from lightning_collab.training.solvers.gibbs.normals import Floats

# Between which the shape of the noise's distribution over users (items) is drawn.
SHAPES: Floats = np.exp(np.linspace(np.log(0.5), np.log(200.0), 80))


class GammaPrior(NamedTuple):
    """Gamma distribution of a precision.

    Attributes:
        shape: half the number of values that the prior is worth.
        rate: half the sum of their squares.
    """

    shape: float
    rate: float

    def draw(self, count: int, squares: float, random: np.random.Generator) -> float:
        """A precision, given values that have it.

        Args:
            count: how many values.
            squares: the sum of their squares, weighted where their precisions are multiples.
            random: generator.
        """
        return float(random.gamma(self.shape + count / 2) / (self.rate + squares / 2))


class Hyperpriors(NamedTuple):
    """All constants of the model that are not learned.

    Attributes:
        noise: of the precision of ratings.
        regressions: of the precision of regression matrices.
        effects: of the precision of effects of time.
        scales: of the diagonal of the Wishart distribution's inverse scale matrix.
        degrees: degrees of freedom of the Wishart distribution beyond the width of a row, less
            one; 2: correlations of a row's entries are uniform (Huang and Wand 2013).
        mean_weight: rows that the prior of the mean row is worth.
    """

    noise: GammaPrior = GammaPrior(1e-2, 1e-2)
    regressions: GammaPrior = GammaPrior(1e-2, 1e-2)
    effects: GammaPrior = GammaPrior(1e-2, 1e-2)
    scales: GammaPrior = GammaPrior(0.5, 0.01)
    degrees: float = 2.0
    mean_weight: float = 1.0


class RowPrior:
    """Mean m and precision P of the rows of one side, with a Gaussian-Wishart prior.

    P ~ Wishart(width - 1 + degrees, diag(scales)^-1), m | P ~ N(0, (mean_weight P)^-1), and each
    scale a Gamma prior of its own: the hierarchy of Huang and Wand (2013), "Simple marginally
    noninformative prior distributions for covariance matrices", which makes the standard deviation
    of each entry of a row half-t. So no entry is held at a size that suits some other data set.

    Args:
        width: of a row.
        constants: of the priors.
    """

    def __init__(self, width: int, constants: Hyperpriors) -> None:
        self._constants = constants
        self.mean: Floats = np.zeros(width)
        self.precision: Floats = 4.0 * np.eye(width)
        self.scales: Floats = np.ones(width)

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the Wishart distribution."""
        return len(self.mean) - 1 + self._constants.degrees

    def draw(
        self,
        left: Floats,
        regression_squares: Floats,
        regression_rows: int,
        random: np.random.Generator,
    ) -> None:
        """Draw P and m given the rows, then the scales given P.

        Args:
            left: float64 [rows, width], the known rows less their mapped features.
            regression_squares: float64 [width, width], sum of lambda B'B over the links.
            regression_rows: rows of all regression matrices, whose prior P is as well.
            random: generator.
        """
        count, width = left.shape
        weight = self._constants.mean_weight
        mean = left.mean(0)
        centred = left - mean
        inverse_scale = np.diag(self.scales) + centred.T @ centred + regression_squares
        inverse_scale += weight * count / (weight + count) * np.outer(mean, mean)
        root = _wishart_root(inverse_scale, self.degrees + count + regression_rows, random)
        self.precision = root @ root.T
        noise = solve_triangular(root, random.standard_normal(width), lower=True, trans="T")
        self.mean = (count * mean + noise * np.sqrt(weight + count)) / (weight + count)
        prior = self._constants.scales
        drawn = random.gamma(prior.shape + self.degrees / 2, size=width)
        self.scales = drawn / (prior.rate + np.diag(self.precision) / 2)


def _wishart_root(inverse_scale: Floats, degrees: float, random: np.random.Generator) -> Floats:
    """Lower triangular T of which T T' is Wishart, by the decomposition of Bartlett (1933)."""
    width = len(inverse_scale)
    # The scale matrix is U U' for U the transposed inverse of the Cholesky factor; its own factor
    # is needed as a lower triangle.
    scale = np.linalg.cholesky(np.linalg.inv(inverse_scale))
    bartlett = np.tril(random.standard_normal((width, width)), -1)
    bartlett[np.diag_indices(width)] = np.sqrt(random.chisquare(degrees - np.arange(width)))
    root: Floats = scale @ bartlett
    return root


class RowNoise:
    """Multiples of the noise precision, one for each row of a side: Gamma(shape, shape).

    Some people rate more consistently than others, and some films divide people: a rating has the
    precision alpha * g_u * g_i (Lakshminarayanan, Bouchard and Archambeau 2011, "Robust Bayesian
    matrix factorization"). How different they are, the shape, is learned: its prior is uniform on a
    grid of `SHAPES`, from which it is drawn as it stands.

    Args:
        rows: of the side.
        learnt: False: all multiples are 1.
    """

    def __init__(self, rows: int, learnt: bool) -> None:
        self.learnt = learnt
        self.multiples: Floats = np.ones(rows)
        self.shape = 5.0

    def draw(self, counts: Floats, squares: Floats, random: np.random.Generator) -> None:
        """Draw the multiples given the residuals, then their shape.

        Args:
            counts: float64 [rows], ratings of each row.
            squares: float64 [rows], sums of squared residuals times their precision without this
                side's multiple.
            random: generator.
        """
        if not self.learnt:
            return
        drawn = random.gamma(self.shape + counts / 2) / (self.shape + squares / 2)
        drawn[0] = 1.0
        self.multiples = drawn
        known = drawn[1:]
        enough = (np.log(known) - known).sum()
        weights = len(known) * (SHAPES * np.log(SHAPES) - gammaln(SHAPES)) + SHAPES * enough
        chances = np.exp(weights - weights.max())
        self.shape = float(random.choice(SHAPES, p=chances / chances.sum()))

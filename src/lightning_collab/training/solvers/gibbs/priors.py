"""Priors of rows: hyperpriors, and regressions on features as part of their means.

Priors of priors are weak, in units of the ratings' standard deviation, the same for any data. The
rows W of one side have the prior W = 1 m' + sum over blocks of F B + E, with the rows of E from
N(0, P^-1). Each regression matrix B has the prior N(0, (lambda P)^-1) in every row, and its
precision lambda a Gamma prior. With several blocks each B is drawn given the others.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.sparse import csc_array
from scipy.special import gammaln

from lightning_collab.kernel_cache import cached_njit
from lightning_collab.training.solvers.gibbs.conditionals import (
    Floats,
    Streams,
    fill_normals,
    normals,
)

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


# Parts of the columns that are distributed over threads; fixed, so that threads change no number.
COLUMN_PARTS = 4
# Of those of F'F, as a share of the largest; directions below it have no part in F.
SMALLEST_EIGENVALUE = 1e-7


class SideInformationRegression(ABC):
    """One block of features and its regression matrix.

    Attributes:
        name: of the block.
        features: [rows, dimensions], F.
        matrix: float64 [dimensions, width], B.
        precision: lambda.
        mapped: float64 [rows, width], F B.
    """

    def __init__(self, name: str, features: Floats | csc_array, width: int) -> None:
        self.name = name
        self.features: Any = features
        rows, dimensions = features.shape
        self.matrix: Floats = np.zeros((dimensions, width))
        self.precision = 1.0
        self.mapped: Floats = np.zeros((rows, width))

    def draw(self, left: Floats, root: Floats, prior: GammaPrior, streams: Streams) -> None:
        """Draw B given lambda, then lambda given B.

        Args:
            left: float64 [rows, width], the rows less all of their prior mean but F B; row 0 is 0.
            root: float64 [width, width], lower Cholesky factor of P.
            prior: of lambda.
            streams: of random numbers.
        """
        # In the coordinates of W root the columns are independent and have unit noise.
        whitened = self._draw_whitened(left @ root, self.matrix @ root, streams)
        self.matrix = solve_triangular(root, whitened.T, lower=True, trans="T").T
        self.mapped = self.features @ self.matrix
        self.precision = prior.draw(whitened.size, (whitened**2).sum(), streams.generator())

    def restore(self, matrix: Floats, precision: float) -> None:
        """Take up the state of a chain.

        Args:
            matrix: B.
            precision: lambda.
        """
        self.matrix = matrix
        self.precision = precision
        self.mapped = self.features @ self.matrix

    @abstractmethod
    def _draw_whitened(self, left: Floats, matrix: Floats, streams: Streams) -> Floats:
        """B root, given that its rows have the prior N(0, I / lambda) and `left` unit noise."""


class JointRegression(SideInformationRegression):
    """Draws all of B at once, by noise injection.

    (F'F + lambda I) B = F'(left + E1) + sqrt(lambda) E2 with the rows of E1 and E2 from N(0, P^-1)
    has exactly the conditional distribution of B as its own (Simm et al. 2017, "Macau: scalable
    Bayesian factorization with high-dimensional side information using MCMC", equation 6).

    The system changes with lambda at every sweep but its eigenvectors V do not. So B is held in
    their basis, C = V'B, where F is Z = F V with orthogonal columns of squared length s: the
    system is diagonal, and a draw costs two products with Z. Directions that F does not reach are
    left out: nothing depends on them, and their prior is integrated out.

    Args:
        name: of the block.
        features: [rows, features].
        width: of a row.
    """

    def __init__(self, name: str, features: csc_array, width: int) -> None:
        rows, columns = features.shape
        wide = columns > rows
        gram = (features @ features.T if wide else features.T @ features).toarray()
        squares, vectors = np.linalg.eigh(gram.astype(np.float64))
        kept = squares > SMALLEST_EIGENVALUE * max(squares[-1], 1e-300)
        self._squares: Floats = squares[kept]
        vectors = vectors[:, kept]
        basis = vectors * np.sqrt(self._squares) if wide else features @ vectors
        super().__init__(name, np.ascontiguousarray(basis), width)

    def _draw_whitened(self, left: Floats, matrix: Floats, streams: Streams) -> Floats:
        rows, width = matrix.shape
        right = self.features.T @ left
        # Z'E1 has independent entries of variance s, so that only as many are drawn as B has.
        right += np.sqrt(self._squares)[:, None] * normals(rows, width, streams.key())
        right += np.sqrt(self.precision) * normals(rows, width, streams.key())
        drawn: Floats = right / (self._squares + self.precision)[:, None]
        return drawn


class RowwiseRegression(SideInformationRegression):
    """Draws one row of B after the other, given all others, in time linear in the entries of F.

    For blocks that are too wide for `JointRegression`. Its stationary distribution is the same; it
    takes a few more sweeps to get there. A solver of the system of noise injection by conjugate
    gradients would need tens of passes over F for one draw and be inexact; this needs two.

    Args:
        name: of the block.
        features: [rows, features].
        width: of a row.
    """

    def __init__(self, name: str, features: csc_array, width: int) -> None:
        super().__init__(name, features, width)
        self._squares: Floats = np.zeros(features.shape[1])
        entry_column = np.repeat(np.arange(features.shape[1]), np.diff(features.indptr))
        np.add.at(self._squares, entry_column, features.data.astype(np.float64) ** 2)

    def _draw_whitened(self, left: Floats, matrix: Floats, streams: Streams) -> Floats:
        features = self.features
        _draw_one_by_one(
            matrix,
            left - features @ matrix,
            features.indptr,
            features.indices,
            features.data,
            self._squares,
            self.precision,
            streams.key(),
        )
        return matrix


@cached_njit(parallel=True, fastmath=True)
def _draw_one_by_one(
    matrix: Floats,
    left: Floats,
    starts: NDArray[np.integer[Any]],
    rows: NDArray[np.integer[Any]],
    values: NDArray[np.float32],
    squares: Floats,
    precision: float,
    key: np.uint64,
) -> None:
    """Draw each row of a regression matrix given all others, in place.

    Args:
        matrix: float64 [features, width]; the prior of a row is N(0, I / precision).
        left: float64 [rows, width], with unit noise, less F matrix; kept so.
        starts: int [features + 1], where the entries of each feature begin.
        rows: int [entries].
        values: float32 [entries].
        squares: float64 [features], sums of squared values.
        precision: of the prior.
        key: of the stream of random numbers.
    """
    features, width = matrix.shape
    noise = np.empty((features, width))
    for d in prange(features):
        fill_normals(noise[d], key, d)
    # Columns do not depend on one another; features do.
    for part in prange(COLUMN_PARTS):
        first = width * part // COLUMN_PARTS
        last = width * (part + 1) // COLUMN_PARTS
        change = np.empty(width)
        for d in range(features):
            for k in range(first, last):
                change[k] = squares[d] * matrix[d, k]
            for n in range(starts[d], starts[d + 1]):
                for k in range(first, last):
                    change[k] += values[n] * left[rows[n], k]
            total = squares[d] + precision
            scale = 1.0 / np.sqrt(total)
            for k in range(first, last):
                drawn = change[k] / total + noise[d, k] * scale
                change[k] = drawn - matrix[d, k]
                matrix[d, k] = drawn
            for n in range(starts[d], starts[d + 1]):
                for k in range(first, last):
                    left[rows[n], k] -= values[n] * change[k]

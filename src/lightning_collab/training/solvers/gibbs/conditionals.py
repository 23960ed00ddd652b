"""Compiled conditional draws of rows, given all else, and residuals.

A row of a user is [b_u, p_u], a row of an item [b_i, q_i]. To a user an item is the regressor
[1, q_i] of the rating less b_i and all other effects, and the other way round.
"""

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lightning_collab.kernel_cache import cached_njit
from lightning_collab.training.solvers.gibbs.normals import Floats, Ids, fill_normals

# Runs of rows that are distributed over threads; fixed, so that threads change no number.
CHUNKS = 64


@cached_njit(parallel=True, fastmath=True)
def draw_rows(
    rows: Floats,
    others: Floats,
    starts: NDArray[np.int64],
    other: NDArray[np.int32],
    target: Floats,
    prior_mean: Floats,
    prior_precision: Floats,
    own_noise: Floats,
    other_noise: Floats,
    noise_precision: float,
    key: np.uint64,
) -> None:
    """Draw every row but row 0 of one side from its conditional distribution, in place.

    With x_n = [1, q_n] and y_n = target_n - b_n for the ratings n of a row, and weights
    a_n = noise_precision * own_noise * other_noise_n, the row is normal with precision
    A = prior_precision + sum a_n x_n x_n' and mean A^-1 (prior_precision prior_mean + sum a_n x_n
    y_n) (Salakhutdinov and Mnih 2008, equations 11 to 13).

    Args:
        rows: float64 [rows, width], overwritten.
        others: float64 [other rows, width], of the other side.
        starts: int64 [rows + 1], where the ratings of each row begin.
        other: int32 [n], the other side's row of each rating.
        target: float64 [n], ratings less what no row of either side explains.
        prior_mean: float64 [rows, width].
        prior_precision: float64 [width, width].
        own_noise: float64 [rows], multiples of the noise precision.
        other_noise: float64 [other rows], multiples of the noise precision.
        noise_precision: of a rating.
        key: of the stream of random numbers.
    """
    count, width = rows.shape
    for chunk in prange(CHUNKS):
        precision = np.empty((width, width))
        gram = np.empty((width, width))
        right = np.empty(width)
        solution = np.empty(width)
        noise = np.empty(width)
        # Four ratings at a time, so that the sums are read and written a quarter as often.
        x = np.zeros((4, width))
        y = np.zeros(4)
        first = 1 + (count - 1) * chunk // CHUNKS
        last = 1 + (count - 1) * (chunk + 1) // CHUNKS
        for row in range(first, last):
            gram[:] = 0.0
            right[:] = 0.0
            for n in range(starts[row], starts[row + 1], 4):
                for j in range(4):
                    if n + j < starts[row + 1]:
                        regressor = others[other[n + j]]
                        root = math.sqrt(other_noise[other[n + j]])
                        x[j, 0] = root
                        for k in range(1, width):
                            x[j, k] = regressor[k] * root
                        y[j] = (target[n + j] - regressor[0]) * root
                    else:
                        x[j, :] = 0.0
                        y[j] = 0.0
                for a in range(width):
                    x0, x1, x2, x3 = x[0, a], x[1, a], x[2, a], x[3, a]
                    for b in range(a + 1):
                        gram[a, b] += x0 * x[0, b] + x1 * x[1, b] + x2 * x[2, b] + x3 * x[3, b]
                for b in range(width):
                    right[b] += y[0] * x[0, b] + y[1] * x[1, b] + y[2] * x[2, b] + y[3] * x[3, b]
            weight = noise_precision * own_noise[row]
            for a in range(width):
                total = weight * right[a]
                for b in range(width):
                    total += prior_precision[a, b] * prior_mean[row, b]
                solution[a] = total
                for b in range(a + 1):
                    precision[a, b] = prior_precision[a, b] + weight * gram[a, b]
            fill_normals(noise, key, row)
            _draw_normal(precision, solution, noise)
            for a in range(width):
                rows[row, a] = solution[a]


@njit(inline="always")
def _draw_normal(precision: Floats, right: Floats, noise: Floats) -> None:
    """Turn `right` into a draw from the normal with this precision and mean precision^-1 right.

    Args:
        precision: float64 [width, width], lower triangle; overwritten by its Cholesky factor, with
            reciprocals on the diagonal.
        right: float64 [width].
        noise: float64 [width], standard normal.
    """
    width = len(right)
    for a in range(width):
        for b in range(a):
            total = precision[a, b]
            for k in range(b):
                total -= precision[a, k] * precision[b, k]
            precision[a, b] = total * precision[b, b]
        total = precision[a, a]
        for k in range(a):
            total -= precision[a, k] * precision[a, k]
        precision[a, a] = 1.0 / math.sqrt(total)
    for a in range(width):
        total = right[a]
        for k in range(a):
            total -= precision[a, k] * right[k]
        right[a] = total * precision[a, a]
    for a in range(width):
        right[a] += noise[a]
    for a in range(width - 1, -1, -1):
        right[a] *= precision[a, a]
        for k in range(a):
            right[k] -= precision[a, k] * right[a]


@cached_njit(parallel=True, fastmath=True)
def residuals(
    rows: Floats,
    others: Floats,
    starts: NDArray[np.int64],
    other: NDArray[np.int32],
    target: Floats,
) -> Floats:
    """What is left of each rating: target - b_u - b_i - <p_u, q_i>, float64 [n].

    Args:
        rows: float64 [rows, width], of the side by which the ratings are sorted.
        others: float64 [other rows, width].
        starts: int64 [rows + 1], where the ratings of each row begin.
        other: int32 [n], the other side's row of each rating.
        target: float64 [n].
    """
    count, width = rows.shape
    left = np.empty(len(target))
    for chunk in prange(CHUNKS):
        first = 1 + (count - 1) * chunk // CHUNKS
        last = 1 + (count - 1) * (chunk + 1) // CHUNKS
        for row in range(first, last):
            for n in range(starts[row], starts[row + 1]):
                factors = others[other[n]]
                product = rows[row, 0] + factors[0]
                for k in range(1, width):
                    product += rows[row, k] * factors[k]
                left[n] = target[n] - product
    return left


@cached_njit()
def weighted_sums(
    groups: Ids,
    values: Floats,
    own: Ids,
    own_noise: Floats,
    other: Ids,
    other_noise: Floats,
    count: int,
) -> tuple[Floats, Floats]:
    """Sums of w and of w * value by group, with w = own_noise[own] * other_noise[other].

    Args:
        groups: int [n].
        values: float64 [n].
        own: int [n], rows of `own_noise`.
        own_noise: float64 [rows].
        other: int [n], rows of `other_noise`.
        other_noise: float64 [other rows].
        count: number of groups.

    Returns:
        float64 [count] of the weights and float64 [count] of the weighted values.
    """
    weights = np.zeros(count)
    sums = np.zeros(count)
    for n in range(len(groups)):
        weight = own_noise[own[n]] * other_noise[other[n]]
        weights[groups[n]] += weight
        sums[groups[n]] += weight * values[n]
    return weights, sums

"""Compiled conditional draws of rows, given all else, and residuals.

A row of a user is [b_u, p_u], a row of an item [b_i, q_i]. To a user an item is the regressor
[1, q_i] of the rating less b_i and all other effects, and the other way round. Random numbers
belong to a place in the chain, not to a generator.
"""

import math
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from lightning_collab.kernel_cache import cached_njit

Floats = NDArray[np.floating[Any]]
Ids = NDArray[np.integer[Any]]

INCREMENT = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
TO_UNIT = 1.0 / 9007199254740992.0


class Streams:
    """The streams of one sweep: each step of it asks for its own.

    Args:
        seed: of the chain.
        sweep: its number.
    """

    def __init__(self, seed: int, sweep: int) -> None:
        self._root = (seed, sweep)
        self._taken = 0

    def generator(self) -> np.random.Generator:
        """A generator of numpy's, for draws that are few."""
        return np.random.default_rng(self._next())

    def key(self) -> np.uint64:
        """The name of a stream, for kernels."""
        return np.uint64(self._next().generate_state(1, np.uint64)[0])

    def _next(self) -> np.random.SeedSequence:
        self._taken += 1
        return np.random.SeedSequence([*self._root, self._taken])


@njit(inline="always")
def _mixed(number: np.uint64) -> np.uint64:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014)."""
    number = (number ^ (number >> np.uint64(30))) * FIRST_FACTOR
    number = (number ^ (number >> np.uint64(27))) * SECOND_FACTOR
    return number ^ (number >> np.uint64(31))


@njit(inline="always")
def fill_normals(out: Floats, key: np.uint64, row: int) -> None:
    """Standard normal numbers of one row, by the formula of Box and Muller (1958).

    Args:
        out: float64 [width], to be filled.
        key: of the stream.
        row: which row of the stream; all rows of a stream have the same width.
    """
    width = len(out)
    place = key + np.uint64(row * (width + width % 2)) * INCREMENT
    for k in range(0, width, 2):
        place += INCREMENT
        first = _mixed(place)
        place += INCREMENT
        second = _mixed(place)
        radius = math.sqrt(-2.0 * math.log((np.float64(first >> np.uint64(11)) + 0.5) * TO_UNIT))
        angle = 2.0 * math.pi * TO_UNIT * np.float64(second >> np.uint64(11))
        out[k] = radius * math.cos(angle)
        if k + 1 < width:
            out[k + 1] = radius * math.sin(angle)


@cached_njit(parallel=True)
def normals(rows: int, width: int, key: np.uint64) -> NDArray[np.float64]:
    """Standard normal numbers, float64 [rows, width].

    Args:
        rows: how many rows.
        width: numbers of a row.
        key: of the stream.
    """
    out = np.empty((rows, width))
    for row in prange(rows):
        fill_normals(out[row], key, row)
    return out


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

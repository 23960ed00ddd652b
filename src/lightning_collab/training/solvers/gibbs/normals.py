"""Random numbers that belong to a place in the chain, not to a generator."""

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

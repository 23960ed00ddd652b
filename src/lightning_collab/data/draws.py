"""Draws of items that a user did not choose, each a function of its place in an epoch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_collab.data.choices import Choices, Ints, Longs
from lightning_collab.kernel_cache import cached_njit

# Of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)
# Tries at an item by popularity before one is drawn from all that are left alike.
TRIES = 64


def popularity_steps(counts: Longs, power: float) -> NDArray[np.float64]:
    """Cumulative chances of items, for draws by popularity.

    Args:
        counts: int64 [item rows], the unknown row first.
        power: that a count is raised to.

    Returns:
        float64 [item rows - 1], ascending to 1: of items 1, 1 to 2, and so on.
    """
    chances = counts[1:].astype(np.float64) ** power
    steps = np.cumsum(chances)
    result: NDArray[np.float64] = steps / steps[-1]
    return result


def draw_others(
    barred: Choices,
    users: Ints,
    key: int,
    first: int,
    count: int,
    steps: NDArray[np.float64] | None = None,
) -> Ints:
    """Items that are none of a user's, drawn for each of some rows of an epoch's order.

    A draw is a function of `key`, the place in the epoch's order and the number of the try, so
    that engines, ranks, threads and resumed runs draw the same.

    Args:
        barred: what is never drawn for a user; no user may have every item.
        users: int32 [n], rows of the user vocabulary.
        key: 63 bits of (seed, epoch).
        first: place of the first row in the epoch's order.
        count: draws for each row.
        steps: of `popularity_steps`; None: all items alike.

    Returns:
        int32 [n, count], rows of the item vocabulary.
    """
    drawn = np.empty((len(users), count), dtype=np.int32)
    by_popularity = steps is not None
    if steps is None:
        steps = np.zeros(0)
    _draw(
        barred.starts, barred.items, barred.item_rows, users, np.uint64(key), first, steps,
        by_popularity, drawn,
    )  # fmt: skip
    return drawn


def draw_by_popularity(steps: NDArray[np.float64], key: int, first: int, count: int) -> Ints:
    """Items drawn by popularity, whoever chose them; the same one may come twice.

    Args:
        steps: of `popularity_steps`.
        key: 63 bits of (seed, epoch).
        first: place of the first draw in the epoch.
        count: how many.

    Returns:
        int32 [count], rows of the item vocabulary.
    """
    drawn = np.empty(count, dtype=np.int32)
    _draw_by_popularity(steps, np.uint64(key), first, drawn)
    return drawn


@cached_njit(nogil=True)
def mixed(state: Any) -> Any:
    """The output function of splitmix64, uint64."""
    state = (state ^ (state >> np.uint64(30))) * FIRST
    state = (state ^ (state >> np.uint64(27))) * SECOND
    return state ^ (state >> np.uint64(31))


@cached_njit(nogil=True)
def random_bits(key: Any, place: Any, attempt: Any) -> Any:
    """64 random bits of (key, place, try)."""
    state = mixed(key + GOLDEN * np.uint64(place + 1))
    return mixed(state + GOLDEN * np.uint64(attempt + 1))


@cached_njit(nogil=True)
def item_by_popularity(steps: NDArray[np.float64], bits: Any) -> Any:
    """The item whose chances 64 random bits fall into."""
    share = np.float64(bits >> np.uint64(11)) * 2.0**-53
    place: Any = np.searchsorted(steps, share, side="right")
    return min(place, len(steps) - 1) + 1


@cached_njit(nogil=True)
def drawn_other(
    own: Ints, item_rows: int, key: Any, place: int, steps: NDArray[np.float64], by_popularity: bool
) -> Any:
    """One item that is not among `own`, which is sorted."""
    for attempt in range(TRIES if by_popularity else 0):
        item = item_by_popularity(steps, random_bits(key, place, attempt))
        found = np.searchsorted(own, item)
        if found == len(own) or own[found] != item:
            return item
    # The r-th item that is not there: no try can fail.
    left = np.uint64(item_rows - 1 - len(own))
    bits = random_bits(key, place, TRIES if by_popularity else 0)
    rank = np.int64(((bits >> np.uint64(32)) * left) >> np.uint64(32))
    # How many of `own` come before it, without a branch that nobody can foresee.
    low, count = 0, len(own)
    while count > 1:
        half = count >> 1
        low += half if own[low + half] - 1 - (low + half) <= rank else 0
        count -= half
    before = low + 1 if count > 0 and own[low] - 1 - low <= rank else low
    return rank + before + 1


@cached_njit(nogil=True)
def _draw(
    starts: Longs,
    items: Ints,
    item_rows: int,
    users: Ints,
    key: Any,
    first: int,
    steps: NDArray[np.float64],
    by_popularity: bool,
    drawn: Ints,
) -> None:
    count = drawn.shape[1]
    for row in range(len(users)):
        own = items[starts[users[row]] : starts[users[row] + 1]]
        for n in range(count):
            place = (first + row) * count + n
            drawn[row, n] = drawn_other(own, item_rows, key, place, steps, by_popularity)


@cached_njit(nogil=True)
def _draw_by_popularity(steps: NDArray[np.float64], key: Any, first: int, drawn: Ints) -> None:
    for n in range(len(drawn)):
        drawn[n] = item_by_popularity(steps, random_bits(key, first + n, 0))

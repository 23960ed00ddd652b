"""Draws of items that a user did not choose, each a function of its place in an epoch."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_collab.data.ranking_batches import Choices, Ints, Longs
from lightning_collab.kernel_cache import cached_njit

# Of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)
# Tries at an item by popularity before one is drawn from all that are left alike.
TRIES = 64


class Popularity(NamedTuple):
    """Cumulative chances of items, for draws by popularity.

    Attributes:
        steps: float64 [item rows - 1], ascending to 1: of items 1, 1 to 2, and so on.
        guide: int32 [parts], the first step above 0, 1/parts, 2/parts, ...: where the search for
            a number begins (Chen and Asau 1974, "On generating random variates from an empirical
            distribution").
    """

    steps: NDArray[np.float64]
    guide: Ints

    @property
    def chances(self) -> NDArray[np.float64]:
        """Float64 [item rows - 1], of each item."""
        chances: NDArray[np.float64] = np.diff(self.steps, prepend=0.0)
        return chances


def popularity(counts: Longs, power: float) -> Popularity:
    """The chances of items that are drawn by popularity.

    Args:
        counts: int64 [item rows], the unknown row first.
        power: that a count is raised to.
    """
    steps = np.cumsum(counts[1:].astype(np.float64) ** power)
    steps /= steps[-1]
    # A power of two, so that a part's bounds are exact numbers.
    parts = 1 << len(steps).bit_length()
    guide = np.searchsorted(steps, np.arange(parts) / parts, side="right").astype(np.int32)
    return Popularity(steps, guide)


# Stands for draws in which all items come alike.
ALIKE = Popularity(np.zeros(0), np.zeros(0, np.int32))


def draw_others(
    barred: Choices, users: Ints, key: int, first: int, count: int, by: Popularity | None = None
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
        by: chances of items; None: all alike.

    Returns:
        int32 [n, count], rows of the item vocabulary.
    """
    drawn = np.empty((len(users), count), dtype=np.int32)
    _draw(
        barred.starts, barred.items, barred.item_rows, users, np.uint64(key), first, by or ALIKE,
        drawn,
    )  # fmt: skip
    return drawn


def draw_by_popularity(by: Popularity, key: int, first: int, count: int) -> Ints:
    """Items drawn by popularity, whoever chose them; the same one may come twice.

    Args:
        by: chances of items.
        key: 63 bits of (seed, epoch).
        first: place of the first draw in the epoch.
        count: how many.

    Returns:
        int32 [count], rows of the item vocabulary.
    """
    drawn = np.empty(count, dtype=np.int32)
    _draw_by_popularity(by, np.uint64(key), first, drawn)
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
def item_by_popularity(by: Popularity, bits: Any) -> Any:
    """The item whose chances 64 random bits fall into."""
    share = np.float64(bits >> np.uint64(11)) * 2.0**-53
    place = by.guide[int(share * len(by.guide))]
    while by.steps[place] <= share:
        place += 1
    return place + 1


@cached_njit(nogil=True)
def rank_in(own: Ints, item: int) -> Any:
    """How many of `own`, ascending, are below an item, by a search without hard branches."""
    low, count = 0, len(own)
    while count > 1:
        half = count >> 1
        low += half if own[low + half] < item else 0
        count -= half
    return low + 1 if count > 0 and own[low] < item else low


@cached_njit(nogil=True)
def drawn_other(own: Ints, item_rows: int, key: Any, place: int, by: Popularity) -> Any:
    """One item that is not among `own`, which is sorted."""
    tries = TRIES if len(by.steps) > 0 else 0
    for attempt in range(tries):
        item = item_by_popularity(by, random_bits(key, place, attempt))
        found = rank_in(own, item)
        if found == len(own) or own[found] != item:
            return item
    # The r-th item that is not there: no try can fail.
    left = np.uint64(item_rows - 1 - len(own))
    bits = random_bits(key, place, tries)
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
    by: Popularity,
    drawn: Ints,
) -> None:
    count = drawn.shape[1]
    for row in range(len(users)):
        own = items[starts[users[row]] : starts[users[row] + 1]]
        for n in range(count):
            place = (first + row) * count + n
            drawn[row, n] = drawn_other(own, item_rows, key, place, by)


@cached_njit(nogil=True)
def _draw_by_popularity(by: Popularity, key: Any, first: int, drawn: Ints) -> None:
    for n in range(len(drawn)):
        drawn[n] = item_by_popularity(by, random_bits(key, first + n, 0))

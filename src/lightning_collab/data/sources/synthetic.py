"""Ratings drawn from known factors: what a model should find is known, and any size can be had."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.config.data import SyntheticConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

MEAN = 3.5
RATING_RANGE = (0.5, 5.0)
# As in the large releases of MovieLens.
RATINGS_A_USER = 140
# Items of a MovieLens release for each square root of a rating: 1,682 of 100,000 and so on.
ITEMS_PER_ROOT = 5.3
# Standard deviation of the logarithm of ratings a user, as in MovieLens.
ACTIVITY = 1.0
# The head of the popularity is that much flatter than Zipf's law.
FLATTENED = 10
CHUNK = 1 << 22
# From so many ratings on, the user is told what is being waited for.
LONG_WORK = 10_000_000
# Share of all items up to which drawing again what was drawn twice is the faster way.
REJECTION_UP_TO = 0.05
FIRST_TIME = 1_000_000_000
YEARS = 15 * 365 * 86_400
MONTH = 30 * 86_400

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class SyntheticTruth:
    """What the ratings were drawn from; row numbers are those of the table's vocabularies.

    Attributes:
        user_bias: float32 [user rows].
        item_bias: float32 [item rows].
        user_factors: float32 [user rows, factors].
        item_factors: float32 [item rows, factors].
    """

    user_bias: Floats
    item_bias: Floats
    user_factors: Floats
    item_factors: Floats

    def expected(self, users: Ints, items: Ints) -> Floats:
        """3.5 + b_u + b_i + <p_u, q_i>, before noise, rounding and the ends of the scale.

        Args:
            users: int32 [n], rows of the table's vocabulary.
            items: int32 [n], rows of the table's vocabulary.
        """
        dots = np.einsum("nk,nk->n", self.user_factors[users], self.item_factors[items])
        rating: Floats = np.float32(MEAN) + self.user_bias[users] + self.item_bias[items] + dots
        return rating


def draw(config: SyntheticConfig) -> tuple[RatingTable, SyntheticTruth]:
    """Draw ratings, each user's distinct items by popularity, and each rating around the truth.

    numpy's `RandomState` has frozen streams: a seed gives the same ratings everywhere.

    Args:
        config: the `data` section.

    Returns:
        The ratings in the order of users, and what they were drawn from.

    Raises:
        DataError: more ratings than half of all pairs of a user and an item.
    """
    drawing = Drawing.of(config)
    user_rows, item_rows = (np.empty(config.ratings, dtype=np.int32) for _ in range(2))
    ratings = np.empty(config.ratings, dtype=np.float32)
    end = 0
    for chunk in drawing.chunks():
        start, end = end, end + len(chunk[2])
        user_rows[start:end], item_rows[start:end], ratings[start:end] = chunk
    (users, items), random = users_and_items(config), drawing.random
    timestamps = None
    if config.timestamps:
        begun = FIRST_TIME + random.randint(0, YEARS, users + 1, dtype=np.int64)
        timestamps = begun[user_rows] + random.randint(0, MONTH, config.ratings, dtype=np.int64)
    table = RatingTable(
        name="synthetic",
        users=user_rows,
        items=item_rows,
        ratings=ratings,
        timestamps=timestamps,
        user_vocabulary=Vocabulary(pl.int_range(1, users + 1, eager=True)),
        item_vocabulary=Vocabulary(pl.int_range(1, items + 1, eager=True)),
        rating_range=RATING_RANGE,
    )
    return table, drawing.truth


def users_and_items(config: SyntheticConfig) -> tuple[int, int]:
    """How many there are.

    Args:
        config: the `data` section.
    """
    users = config.users or max(20, config.ratings // RATINGS_A_USER)
    return users, config.items or max(20, round(ITEMS_PER_ROOT * config.ratings**0.5))


@dataclass(frozen=True, eq=False)
class Drawing:
    """Ratings that are drawn once, a part after the other.

    Attributes:
        config: the `data` section.
        random: what draws them; it goes on with every number.
        truth: what they are drawn from.
        counts: int64 [users], ratings of each user.
        popularity: of the items.
    """

    config: SyntheticConfig
    random: np.random.RandomState
    truth: SyntheticTruth
    counts: NDArray[np.int64]
    popularity: "_Popularity"

    @classmethod
    def of(cls, config: SyntheticConfig) -> Self:
        """The start of a drawing.

        Args:
            config: the `data` section.

        Raises:
            DataError: more ratings than half of all pairs of a user and an item.
        """
        if config.ratings >= LONG_WORK:
            log.info("drawing %s synthetic ratings", f"{config.ratings:,}")
        random = np.random.RandomState(config.seed)
        users, items = users_and_items(config)
        if config.ratings > users * items // 2:
            raise DataError(
                f"data.ratings={config.ratings} is more than half of the {users} x {items} pairs "
                "of a user and an item; raise data.users and data.items"
            )
        truth = _truth(config, random, users, items)
        counts = _ratings_of_each(config.ratings, users, items, random)
        return cls(config, random, truth, counts, _Popularity.of(items, config.popularity, random))

    def chunks(self) -> Iterator[tuple[Ints, Ints, Floats]]:
        """Users, items and ratings in the order of users, about `CHUNK` of them at a time."""
        config, random = self.config, self.random
        for first, last, _, _ in _chunks(self.counts):
            counts = self.counts[first:last]
            users = np.repeat(np.arange(first + 1, last + 1, dtype=np.int32), counts)
            items = 1 + _distinct_items(counts, self.popularity, random)
            expected = self.truth.expected(users, items)
            expected += config.noise * random.standard_normal(len(users)).astype(np.float32)
            if config.step > 0:
                expected = np.rint(expected / config.step) * config.step
            yield users, items, expected.clip(*RATING_RANGE)


def _truth(
    config: SyntheticConfig, random: np.random.RandomState, users: int, items: int
) -> SyntheticTruth:
    def normal(scale: float, *shape: int) -> Floats:
        values: Floats = (scale * random.standard_normal(shape)).astype(np.float32)
        values[0] = 0  # the unknown row
        return values

    # A sum of `factors` products, each of variance each^4, has the variance factor_scale^2.
    each = (config.factor_scale**2 / max(config.factors, 1)) ** 0.25
    return SyntheticTruth(
        user_bias=normal(config.bias_scale, users + 1),
        item_bias=normal(config.bias_scale, items + 1),
        user_factors=normal(each, users + 1, config.factors),
        item_factors=normal(each, items + 1, config.factors),
    )


def _ratings_of_each(
    ratings: int, users: int, items: int, random: np.random.RandomState
) -> NDArray[np.int64]:
    """Ratings of each user, log-normal, at most three quarters of all items; `ratings` in all."""
    most = max(1, 3 * items // 4)
    activity = np.exp(ACTIVITY * random.standard_normal(users))
    # What the most active cannot have goes to the others, in proportion.
    low, high = 0.0, float(most)
    for _ in range(60):
        scale = (low + high) / 2
        if np.minimum(activity * scale, most).sum() < ratings:
            low = scale
        else:
            high = scale
    counts = np.minimum(activity * high, most).astype(np.int64)
    while (missing := ratings - int(counts.sum())) > 0:
        room = np.flatnonzero(counts < most)
        counts[random.permutation(room)[:missing]] += 1
    while (surplus := int(counts.sum()) - ratings) > 0:
        some = np.flatnonzero(counts > 0)
        counts[random.permutation(some)[:surplus]] -= 1
    return counts


@dataclass(frozen=True, eq=False)
class _Popularity:
    """How likely items are to be rated.

    Attributes:
        weights: float64 [items], of each item.
        cumulative: float64 [items], probabilities summed over `order`.
        order: int32 [items], the items from popular to rare.
    """

    weights: NDArray[np.float64]
    cumulative: NDArray[np.float64]
    order: Ints

    @classmethod
    def of(cls, items: int, exponent: float, random: np.random.RandomState) -> Self:
        by_rank = (np.arange(items) + 1.0 + FLATTENED) ** -exponent
        order = random.permutation(items).astype(np.int32)
        weights = np.empty(items)
        weights[order] = by_rank
        cumulative = np.cumsum(by_rank)
        return cls(weights, cumulative / cumulative[-1], order)


def _chunks(counts: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
    """Runs of users with about `CHUNK` ratings: first and last user, first and last rating."""
    ends = np.cumsum(counts)
    first, start = 0, 0
    while first < len(counts):
        last = max(first + 1, int(np.searchsorted(ends, start + CHUNK, side="right")))
        end = int(ends[last - 1])
        yield first, last, start, end
        first, start = last, end


def _distinct_items(
    counts: NDArray[np.int64], popularity: _Popularity, random: np.random.RandomState
) -> Ints:
    """Items of each user, drawn one after another by popularity, none of them twice.

    Args:
        counts: int [users], how many of each.
        popularity: of the items.
        random: to draw with.

    Returns:
        int32 [sum of counts], user after user, ascending within each.
    """
    items = len(popularity.order)
    active = counts > items * REJECTION_UP_TO
    # A pair of a user and an item is one number.
    pairs = [_by_rejection(np.where(active, 0, counts), popularity, random)]
    for user in np.flatnonzero(active):
        # Efraimidis and Spirakis (2006), "Weighted random sampling with a reservoir": the smallest
        # of exponential numbers with these rates are drawn without replacement.
        keys = random.standard_exponential(items) / popularity.weights
        chosen = np.argpartition(keys, counts[user] - 1)[: counts[user]]
        pairs.append(user * items + chosen)
    return (np.sort(np.concatenate(pairs)) % items).astype(np.int32)


def _by_rejection(
    counts: NDArray[np.int64], popularity: _Popularity, random: np.random.RandomState
) -> NDArray[np.int64]:
    """Pairs of users who rate few of the items: what is drawn twice is drawn again."""
    items = len(popularity.order)
    found = np.zeros(0, dtype=np.int64)
    missing = counts.copy()
    while missing.any():
        users = np.repeat(np.arange(len(counts), dtype=np.int64), missing)
        place = np.searchsorted(popularity.cumulative, random.random_sample(len(users)))
        drawn = np.sort(users * items + popularity.order[place])
        new = np.append(True, drawn[1:] != drawn[:-1])
        if len(found):
            at = np.minimum(np.searchsorted(found, drawn), len(found) - 1)
            new &= found[at] != drawn
        drawn = drawn[new]
        missing -= np.bincount(drawn // items, minlength=len(counts))
        found = np.sort(np.concatenate([found, drawn])) if len(found) else drawn
    return found

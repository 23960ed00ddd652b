"""Orders of an epoch in which rows of one group come one after the other.

By user, a user's row stays in the cache for all its ratings. By blocks, users and items are cut
into parts, and the ratings of a part of the users on a part of the items come together, so that the
rows of both stay in the cache (as in LIBMF, Chin et al. 2015). Blocks come in rounds that have
each part once, so that no two of a round share a row (Gemulla et al. 2011, "Large-scale matrix
factorization with distributed stochastic gradient descent"): whoever takes them at the same time
does what taking them in turn does.
"""

import math
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lightning_collab.data.draws import GOLDEN, mixed
from lightning_collab.kernel_cache import KERNEL, cached_njit

# Rows of users and items together in a block: 256 KiB of 64 single factors.
ROWS_OF_A_BLOCK = 1024
# Ratings in a block for which going from one to the next costs nothing.
LEAST_RATINGS_OF_A_BLOCK = 4096
# Parts that several threads can share, where there are ratings enough.
PARTS_TO_SHARE = 8


class Groups(NamedTuple):
    """Rows in groups, which come in random order, each one's rows at random among themselves.

    Attributes:
        rows: int [n], row numbers, those of one group after those of the other.
        starts: int64 [groups + 1], where each group begins in `rows`.
        parts: of blocks, into how many users are cut, and items; 0: the groups are no blocks.
    """

    rows: NDArray[np.integer]
    starts: NDArray[np.int64]
    parts: int = 0

    @classmethod
    def by_user(cls, users: NDArray[np.int32]) -> Self:
        """Each user's rows together.

        Args:
            users: int32 [n].
        """
        return cls(*_sorted(users, int(users.max(initial=0)) + 1))

    @classmethod
    def blocks(cls, users: NDArray[np.int32], items: NDArray[np.int32]) -> Self:
        """Blocks of users x items, as many as their rows and ratings ask for.

        Args:
            users: int32 [n].
            items: int32 [n].
        """
        tables = [int(ids.max(initial=0)) + 1 for ids in (users, items)]
        wanted = max(PARTS_TO_SHARE, -(-sum(tables) // ROWS_OF_A_BLOCK))
        most = math.isqrt(len(users) // LEAST_RATINGS_OF_A_BLOCK)
        parts = max(2, min(wanted, most) // 2 * 2)
        user_part, item_part = (
            cut(ids, rows, parts)[0] for ids, rows in zip((users, items), tables, strict=True)
        )
        return cls(*_sorted(_blocks(users, items, user_part, item_part, parts), parts**2), parts)

    def sequence(self, key: int) -> NDArray[np.int64]:
        """The groups in the order of an epoch; of blocks, `parts` rounds of as many.

        Args:
            key: of the epoch, 62 bits.

        Returns:
            int64 [groups].
        """
        sequence: NDArray[np.int64]
        if not self.parts:
            sequence = _shuffled(len(self.starts) - 1, np.uint64(key))
            return sequence
        users, items, rounds = (_shuffled(self.parts, np.uint64(key + n)) for n in range(3))
        place = (np.arange(self.parts) + rounds[:, None]) % self.parts
        sequence = (users * self.parts + items[place]).ravel()
        return sequence

    def order(self, key: int) -> NDArray[np.integer]:
        """The order of an epoch: a function of the key and nothing else.

        Args:
            key: of the epoch, 62 bits.

        Returns:
            int [n], places in `rows`.
        """
        order = np.empty_like(self.rows)
        _draw(self.starts, self.sequence(key), np.uint64(key + 3), order)
        return order

    def rounds(self, key: int) -> NDArray[np.int64]:
        """Where blocks end in the order of an epoch.

        Args:
            key: of the epoch, 62 bits.

        Returns:
            int64 [parts, parts], a line for each round.
        """
        sizes = np.diff(self.starts)[self.sequence(key)]
        return np.cumsum(sizes).reshape(self.parts, self.parts)


def cut(
    ids: NDArray[np.int32], rows: int, parts: int
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Cut the rows of a table into parts with about as many ratings each.

    Parts are of rows that lie side by side, so that cores do not share the lines of their caches.

    Args:
        ids: int32 [n], rows of the ratings.
        rows: of the table.
        parts: how many, at most 32,767.

    Returns:
        int16 [rows], ascending; int64 [parts], ratings of each part.
    """
    ratings: NDArray[np.int64] = _counts(ids, rows)
    # A row is where its middle is, so that a heavy one does not push all after it on.
    middle = np.cumsum(ratings) - ratings / 2
    part = np.minimum(middle * parts / max(1, len(ids)), parts - 1).astype(np.int16)
    first = np.searchsorted(part, np.arange(parts + 1))
    return part, np.diff(np.concatenate([[0], np.cumsum(ratings)])[first])


def gathered(rows: Any, *columns: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Rows of users, items and ratings in one pass, which reads each row number once.

    Args:
        rows: int [n].
        columns: users int32, items int32, ratings float32.
    """
    found = tuple(np.empty(len(rows), column.dtype) for column in columns)
    _gather(rows, columns, found)
    return found


def _sorted(groups: NDArray[np.int32], count: int) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Rows by group, those of a group in their order, and where each group begins."""
    starts = np.concatenate([[0], np.cumsum(_counts(groups, count))])
    kind = np.int32 if len(groups) < 2**31 else np.int64
    rows: NDArray[np.integer] = np.empty(len(groups), kind)
    _place(groups, starts[:-1].copy(), rows)
    return rows, starts


@cached_njit(**KERNEL)
def _counts(ids, rows):  # type: ignore[no-untyped-def]
    """As numpy's bincount, which would first make a copy of 64 bits."""
    counts = np.zeros(rows, np.int64)
    for row in ids:
        counts[row] += 1
    return counts


@cached_njit(**KERNEL)
def _place(groups, free, rows):  # type: ignore[no-untyped-def]
    for row in range(groups.shape[0]):
        group = groups[row]
        rows[free[group]] = row
        free[group] += 1


@cached_njit(**KERNEL)
def _blocks(users, items, user_part, item_part, parts):  # type: ignore[no-untyped-def]
    block = np.empty(users.shape[0], np.int32)
    for n in range(users.shape[0]):
        block[n] = user_part[users[n]] * parts + item_part[items[n]]
    return block


@cached_njit(nogil=True)
def _shuffle(values: Any, state: Any) -> None:
    """Fisher and Yates; 32 bits for each number, far more than the length of what is shuffled."""
    for last in range(len(values) - 1, 0, -1):
        state += GOLDEN
        other = int(((mixed(state) >> np.uint64(32)) * np.uint64(last + 1)) >> np.uint64(32))
        values[last], values[other] = values[other], values[last]


@cached_njit(nogil=True)
def _shuffled(count: Any, key: Any) -> Any:
    values = np.arange(count)
    _shuffle(values, mixed(key))
    return values


@cached_njit(nogil=True)
def _draw(starts: Any, sequence: Any, key: Any, order: Any) -> None:
    filled = 0
    for group in sequence:
        size = starts[group + 1] - starts[group]
        for n in range(size):
            order[filled + n] = starts[group] + n
        _shuffle(order[filled : filled + size], mixed(key + GOLDEN * np.uint64(filled)))
        filled += size


@cached_njit(**KERNEL)
def _gather(rows, columns, found):  # type: ignore[no-untyped-def]
    users, items, ratings = columns
    found_users, found_items, found_ratings = found
    for n in range(rows.shape[0]):
        row = rows[n]
        found_users[n] = users[row]
        found_items[n] = items[row]
        found_ratings[n] = ratings[row]

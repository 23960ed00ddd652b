"""Which items each user chose."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Choices:
    """Pairs of users and items as one sorted row of items a user.

    Attributes:
        starts: int64 [user rows + 1]; the items of user u are `items[starts[u]:starts[u + 1]]`.
        items: int32 [n], rows of the item vocabulary, ascending within a user.
        item_rows: length of the item vocabulary, the unknown row among them.
        weights: float32 [n], confidence of each pair; None: all 1.
    """

    starts: Longs
    items: Ints
    item_rows: int
    weights: Floats | None = None

    @classmethod
    def of(
        cls,
        users: Ints,
        items: Ints,
        *,
        user_rows: int,
        item_rows: int,
        weights: Floats | None = None,
    ) -> Self:
        """Pairs in any order.

        Args:
            users: int32 [n], rows of the user vocabulary.
            items: int32 [n], rows of the item vocabulary.
            user_rows: length of the user vocabulary.
            item_rows: length of the item vocabulary.
            weights: float32 [n] or None.
        """
        order = np.argsort(users.astype(np.int64) * item_rows + items, kind="stable")
        counts = np.bincount(users, minlength=user_rows)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(
            starts,
            items[order].astype(np.int32, copy=False),
            item_rows,
            None if weights is None else weights[order].astype(np.float32, copy=False),
        )

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.items)

    @cached_property
    def users(self) -> Ints:
        """The user of each pair, int32 [n]."""
        rows = np.arange(len(self.starts) - 1, dtype=np.int32)
        return np.repeat(rows, np.diff(self.starts))

    @property
    def keys(self) -> Longs:
        """One number a pair, ascending, int64 [n]."""
        return self.users.astype(np.int64) * self.item_rows + self.items

    @cached_property
    def user_counts(self) -> Longs:
        """Pairs of each user, int64 [user rows]."""
        counts: Longs = np.diff(self.starts)
        return counts

    @cached_property
    def item_counts(self) -> Longs:
        """Pairs of each item, int64 [item rows]."""
        return np.bincount(self.items, minlength=self.item_rows).astype(np.int64)

    def of_user(self, user: int) -> Ints:
        """The items of a user, ascending."""
        return self.items[self.starts[user] : self.starts[user + 1]]

"""Which items each user chose, and users whose held-out items are looked for among all items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_collab.data.vocabulary import UNKNOWN_ROW

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


# Scores of a block of users by items: 32 MiB.
SCORES_AT_A_TIME = 1 << 23

Rows = NDArray[np.int32]
Starts = NDArray[np.int64]


class RankingBatch(NamedTuple):
    """Some users, what they have seen and what they liked; U is their number.

    Attributes:
        users: int32 [U], rows of the user vocabulary.
        seen_starts: int64 [U + 1]; `seen[seen_starts[u]:seen_starts[u + 1]]` are those of user u.
        seen: int32, columns of the score matrix (row of the item less 1) that are left out.
        liked_starts: int64 [U + 1], likewise of `liked`.
        liked: int32, rows of the item vocabulary, ascending for each user; 0 for an item that the
            model cannot know.
    """

    users: Tensor
    seen_starts: Tensor
    seen: Tensor
    liked_starts: Tensor
    liked: Tensor


class _Lists(NamedTuple):
    """One list for each of some users."""

    starts: Starts
    values: Tensor

    def of(self, users: slice, device: torch.device) -> tuple[Tensor, Tensor]:
        """Starts, from 0, and values of consecutive users."""
        starts = self.starts[users.start : users.stop + 1]
        values = self.values[int(starts[0]) : int(starts[-1])]
        return torch.from_numpy(starts - starts[0]).to(device), values


class RankingBatches:
    """Blocks of the users who liked any held-out item, for one rank.

    Each rank has a consecutive share of the users: every user is had once, and the number of blocks
    is the same on all ranks, so that a block may be empty.

    Args:
        seen: pairs that are left out of a user's ranking, in one or several parts; those of the
            unknown item say nothing and may be among them.
        liked: pairs to be found. Users with none and the unknown user are left aside; the row of
            the unknown item stands for items that the model cannot know.
        most_users: at most so many users, drawn at random; None: all.
        seed: of the draw, which is the same in each epoch, so that epochs can be compared.
        rank: of this process.
        world_size: number of ranks.
        device: where the tensors are kept.
    """

    def __init__(
        self,
        seen: Choices | Sequence[Choices],
        liked: Choices,
        *,
        most_users: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        users = np.flatnonzero(liked.user_counts)
        users = users[users != UNKNOWN_ROW].astype(np.int32)
        if most_users is not None and most_users < len(users):
            drawn = np.random.default_rng(seed).choice(len(users), most_users, replace=False)
            users = users[np.sort(drawn)]
        self.items = liked.item_rows - 1
        self.all_users = len(users)
        self.device = torch.device(device)
        shares = [number * len(users) // world_size for number in range(world_size + 1)]
        self._blocks = -(-max(np.diff(shares)) // max(1, SCORES_AT_A_TIME // max(1, self.items)))
        mine = users[shares[rank] : shares[rank + 1]]
        parts = [seen] if isinstance(seen, Choices) else seen
        self._users = torch.from_numpy(mine).to(self.device)
        self._seen = self._lists(_merged([_of_users(part, mine) for part in parts], len(mine)), 1)
        self._liked = self._lists(_of_users(liked, mine), 0)

    def _lists(self, pairs: tuple[Starts, Rows], first: int) -> _Lists:
        starts, items = pairs
        return _Lists(starts, torch.from_numpy(items - np.int32(first)).to(self.device))

    def __len__(self) -> int:
        """How many blocks there are, on each rank."""
        return int(self._blocks)

    def __iter__(self) -> Iterator[RankingBatch]:
        """The blocks, in the order of the users."""
        count, blocks = len(self._users), len(self)
        for block in range(blocks):
            users = slice(block * count // blocks, (block + 1) * count // blocks)
            yield RankingBatch(
                self._users[users],
                *self._seen.of(users, self.device),
                *self._liked.of(users, self.device),
            )


def _of_users(pairs: Choices, users: Rows) -> tuple[Starts, Rows]:
    """The lists of some users, one after the other."""
    counts = pairs.user_counts[users]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    shift = np.repeat(pairs.starts[users] - starts[:-1], counts)
    return starts, pairs.items[np.arange(starts[-1]) + shift]


def _merged(parts: Sequence[tuple[Starts, Rows]], users: int) -> tuple[Starts, Rows]:
    """The lists of several parts as one, without the unknown item."""
    owners = [np.repeat(np.arange(users), np.diff(starts)) for starts, _ in parts]
    owner = np.concatenate([np.empty(0, np.int64), *owners])
    items = np.concatenate([np.empty(0, np.int32), *(items for _, items in parts)])
    known = items != UNKNOWN_ROW
    owner, items = owner[known], items[known]
    if len(parts) > 1:
        order = np.argsort(owner, kind="stable")
        owner, items = owner[order], items[order]
    counts = np.bincount(owner, minlength=users)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), items

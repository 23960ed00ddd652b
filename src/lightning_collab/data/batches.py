"""Ratings as tensors that are already where they are needed, cut into batches."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_collab.config.data import BatchSize, ratings_in_batch


class RatingBatch(NamedTuple):
    """What a model sees at a time; B is the number of rows of this rank's share.

    Attributes:
        users: int32 [B], rows of the user vocabulary.
        items: int32 [B], rows of the item vocabulary.
        ratings: float32 [B], in rating units.
        day: int32 [B], days since 1970, where the source has timestamps and a model asks for it.
        start: where this rank's rows begin in the whole batch.
        whole_size: rows of the whole batch over all ranks; 0: this is the whole batch.
        draw_seed: seed of what a model draws for the whole batch (dropout masks).
    """

    users: Tensor
    items: Tensor
    ratings: Tensor
    day: Tensor | None = None
    start: int = 0
    whole_size: int = 0
    draw_seed: int = 0


class RatingBatches:
    """Batches of one part of the ratings, for one rank.

    The order of an epoch is a permutation drawn from (seed, epoch) and nothing else, so it is the
    same for every device, number of ranks and engine. Each whole batch is shared out to the ranks
    in consecutive slices: every row once an epoch, none twice, and a rank may get an empty share.

    Args:
        users: int32 [n].
        items: int32 [n].
        ratings: float32 [n].
        day: int32 [n] or None.
        batch_size: rows of the whole batch over all ranks; `full`: all rows.
        shuffle: whether each epoch has an order of its own.
        seed: of the order and of what models draw.
        rank: of this process.
        world_size: number of ranks.
        device: where the tensors are kept; batches are slices of them.
        block_ends: given, several batches are yielded as one block, for whoever cuts it up itself:
            the batches before which a block ends, ascending, the last of them the number of
            batches in an epoch. For one rank alone.
        position: `state_dict` of another one, whose epoch is gone on with.
    """

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        ratings: Tensor,
        day: Tensor | None = None,
        *,
        batch_size: BatchSize,
        shuffle: bool,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        block_ends: Sequence[int] | None = None,
        position: Mapping[str, int] | None = None,
    ) -> None:
        assert block_ends is None or world_size == 1
        self._block_ends = block_ends
        self.users = users.to(device)
        self.items = items.to(device)
        self.ratings = ratings.to(device)
        self.day = None if day is None else day.to(device)
        self.batch_size = ratings_in_batch(batch_size, len(ratings))
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        # Batches and blocks of this epoch that have been yielded.
        self._next, self._yielded = 0, 0
        # The same when the epoch was resumed.
        self._resumed_at: tuple[int, int] | None = None
        self._resumed = False
        if position is not None:
            self.load_state_dict(position)

    @property
    def rows(self) -> int:
        """Ratings in an epoch, over all ranks."""
        return len(self.ratings)

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Where Lightning looks for `set_epoch` at the start of each epoch, resumed ones too."""
        return SimpleNamespace(sampler=self)

    @property
    def batches(self) -> int:
        """Batches in an epoch, each of one optimizer step."""
        return -(-self.rows // self.batch_size)

    def __len__(self) -> int:
        """What an epoch yields: batches, or blocks of them; those before a resume count as well."""
        done, yielded = self._resumed_at or (0, 0)
        if self._block_ends is None:
            return yielded + self.batches - done
        return yielded + len(self._block_ends) - bisect_right(self._block_ends, done)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; another epoch than the one under way begins at its first batch."""
        if epoch != self.epoch:
            self.epoch = epoch
            self._next, self._yielded = 0, 0
            self._resumed_at = None
            self._resumed = False

    def order(self) -> Tensor | None:
        """Row numbers of this epoch in the order of training; None: as they are.

        Returns:
            int32 [n], int64 from 2^31 rows on; the type does not change the numbers.
        """
        if not self.shuffle:
            return None
        generator = torch.Generator().manual_seed(_mixed(self.seed, self.epoch))
        kind = torch.int32 if self.rows < 2**31 else torch.int64
        order = torch.randperm(self.rows, generator=generator, dtype=kind)
        return order.to(self.ratings.device)

    def __iter__(self) -> Iterator[RatingBatch]:
        """The batches of this epoch; after `load_state_dict`, those that are still to come."""
        # Lightning calls iter() more than once before set_epoch(): nothing is decided until the
        # first batch is asked for, which is when this generator starts to run.
        if not self._resumed:
            self._next, self._yielded = 0, 0
            self._resumed_at = None
        self._resumed = False
        order = self.order()
        draw_seed = _mixed(self.seed + 1, self.epoch)
        while self._next < self.batches:
            first = self._next * self.batch_size
            end_batch = self._next + 1
            if self._block_ends is not None:
                end_batch = self._block_ends[bisect_right(self._block_ends, self._next)]
            whole_size = min(end_batch * self.batch_size, self.rows) - first
            start = self.rank * whole_size // self.world_size
            end = (self.rank + 1) * whole_size // self.world_size
            mine: Any = slice(first + start, first + end)
            if order is not None:
                mine = order[mine]
            self._next = end_batch
            self._yielded += 1
            yield RatingBatch(
                _rows(self.users, mine),
                _rows(self.items, mine),
                _rows(self.ratings, mine),
                None if self.day is None else _rows(self.day, mine),
                start,
                whole_size,
                draw_seed + self._next,
            )

    def state_dict(self) -> dict[str, int]:
        """Where the epoch under way stands."""
        return {"epoch": self.epoch, "next_batch": self._next, "yielded": self._yielded}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where another one stood, whatever it yielded at a time."""
        self.epoch = state["epoch"]
        self._next = state["next_batch"]
        # Before there were blocks, each batch counted.
        self._yielded = state.get("yielded", self._next)
        self._resumed_at = (self._next, self._yielded)
        self._resumed = True


def _rows(column: Tensor, rows: slice | Tensor) -> Tensor:
    """A slice of a column, or its rows of these numbers."""
    # A quarter of the time of `column[rows]`.
    return column[rows] if isinstance(rows, slice) else column.index_select(0, rows)


def _mixed(seed: int, epoch: int) -> int:
    """One 62-bit seed of two numbers, well apart for neighbouring pairs."""
    return int(
        np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(2)
    )

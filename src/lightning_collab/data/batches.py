"""Ratings as tensors that are already where they are needed, cut into batches."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from lightning_collab.config.data import BatchSize, ratings_in_batch

if TYPE_CHECKING:  # with numba, which other runs start without
    from lightning_collab.data.orders import Groups


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
        rounds: int64 [rounds, blocks + 1], of several batches in one whose order has blocks: where
            those of each round end, after where the first begins. No two blocks of a round share a
            user or an item.
    """

    users: Tensor
    items: Tensor
    ratings: Tensor
    day: Tensor | None = None
    start: int = 0
    whole_size: int = 0
    draw_seed: int = 0
    rounds: Tensor | None = None

    @property
    def terms(self) -> int:
        """Terms of the loss in this share: its ratings."""
        return len(self.ratings)

    @property
    def whole_terms(self) -> int:
        """Terms of the loss in the whole batch over all ranks."""
        return self.whole_size or len(self.ratings)


class Share(NamedTuple):
    """What of a whole batch is this rank's.

    Attributes:
        rows: of the data; a slice, or int [B].
        first: place of the whole batch in the order of the epoch.
        start: where this rank's rows begin in the whole batch.
        whole: rows of the whole batch; int [whole] or a slice.
        whole_size: how many those are.
        draw_seed: of what is drawn for the whole batch.
    """

    rows: slice | Tensor
    first: int
    start: int
    whole: slice | Tensor
    whole_size: int
    draw_seed: int


AnyBatch = TypeVar("AnyBatch")


class EpochBatches(ABC, Generic[AnyBatch]):
    """What a loader of ours yields: batches of some rows of anything, for one rank.

    The order of an epoch is a permutation drawn from (seed, epoch) and nothing else, so it is the
    same for every device, number of ranks and engine. Each whole batch is shared out to the ranks
    in consecutive slices: every row once an epoch, none twice, and a rank may get an empty share.

    Args:
        rows: how many there are.
        batch_size: rows of the whole batch over all ranks; `full`: all rows.
        groups: given, rows of one group come one after the other, groups and the rows in each in
            random order; rows are numbered as these groups have them.
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
        rows: int,
        *,
        batch_size: BatchSize,
        shuffle: bool,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        block_ends: Sequence[int] | None = None,
        position: Mapping[str, int] | None = None,
        groups: "Groups | None" = None,
    ) -> None:
        assert block_ends is None or world_size == 1
        self._block_ends = block_ends
        self.device = torch.device(device)
        self.rows = rows
        self._groups = groups
        self.batch_size = ratings_in_batch(batch_size, rows)
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
        key = _mixed(self.seed, self.epoch)
        if self._groups is not None:
            return torch.from_numpy(self._groups.order(key)).to(self.device)
        generator = torch.Generator().manual_seed(key)
        kind = torch.int32 if self.rows < 2**31 else torch.int64
        return torch.randperm(self.rows, generator=generator, dtype=kind).to(self.device)

    @abstractmethod
    def batch(self, share: Share) -> AnyBatch:
        """This rank's share of a whole batch, or of a block of them."""

    def epoch_seed(self, stream: int) -> int:
        """A seed of 62 bits of this epoch, for what is drawn in it."""
        return _mixed(self.seed + stream, self.epoch)

    def __iter__(self) -> Iterator[AnyBatch]:
        """The batches of this epoch; after `load_state_dict`, those that are still to come."""
        # Lightning calls iter() more than once before set_epoch(): nothing is decided until the
        # first batch is asked for, which is when this generator starts to run.
        if not self._resumed:
            self._next, self._yielded = 0, 0
            self._resumed_at = None
        self._resumed = False
        order = self.order()
        draw_seed = self.epoch_seed(1)
        while self._next < self.batches:
            first = self._next * self.batch_size
            end_batch = self._next + 1
            if self._block_ends is not None:
                end_batch = self._block_ends[bisect_right(self._block_ends, self._next)]
            whole_size = min(end_batch * self.batch_size, self.rows) - first
            start = self.rank * whole_size // self.world_size
            end = (self.rank + 1) * whole_size // self.world_size
            mine, whole = (
                cut if order is None else order[cut]
                for cut in (slice(first + start, first + end), slice(first, first + whole_size))
            )
            self._next = end_batch
            self._yielded += 1
            yield self.batch(Share(mine, first, start, whole, whole_size, draw_seed + self._next))

    def state_dict(self) -> dict[str, int]:
        """Where the epoch under way stands."""
        return {"epoch": self.epoch, "next_batch": self._next, "yielded": self._yielded}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue where another one stood, whatever it yielded at a time."""
        self.epoch = state["epoch"]
        self._next = state["next_batch"]
        # Before there were blocks, each batch counted.
        self._yielded = state.get("yielded", self._next)
        self._resumed_at = (self._next, self._yielded)
        self._resumed = True


class RatingBatches(EpochBatches[RatingBatch]):
    """Batches of one part of the ratings, for one rank; see `EpochBatches`.

    Args:
        users: int32 [n].
        items: int32 [n].
        ratings: float32 [n].
        day: int32 [n] or None.
        device: where the tensors are kept; batches are slices of them.
        options: of `EpochBatches`.
    """

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        ratings: Tensor,
        day: Tensor | None = None,
        *,
        device: torch.device | str = "cpu",
        **options: Any,
    ) -> None:
        super().__init__(len(ratings), device=device, **options)
        groups = self._groups

        def kept(column: Tensor) -> Tensor:
            if groups is not None:
                column = rows_of(column, torch.from_numpy(groups.rows))
            return column.to(device)

        self.users, self.items, self.ratings = map(kept, (users, items, ratings))
        self.day = None if day is None else kept(day)

    def batch(self, share: Share) -> RatingBatch:
        """These ratings."""
        columns = [self.users, self.items, self.ratings]
        if self._block_ends is not None and isinstance(share.rows, Tensor):
            # Whoever takes blocks has numba loaded.
            from lightning_collab.data.orders import gathered

            in_place = (each.numpy() for each in (share.rows, *columns))
            users, items, ratings = map(torch.from_numpy, gathered(*in_place))
        else:
            users, items, ratings = (rows_of(column, share.rows) for column in columns)
        return RatingBatch(
            users,
            items,
            ratings,
            None if self.day is None else rows_of(self.day, share.rows),
            share.start,
            share.whole_size,
            share.draw_seed,
            self._rounds(share.first, share.whole_size),
        )

    def _rounds(self, first: int, size: int) -> Tensor | None:
        """Where blocks end, of what lies within several batches in one."""
        if (
            self._block_ends is None
            or not self.shuffle
            or not self._groups
            or not self._groups.parts
        ):
            return None
        ends = self._groups.rounds(_mixed(self.seed, self.epoch)) - first
        begins = np.concatenate([[-first], ends[:-1, -1]])
        rounds = np.column_stack([begins, ends]).clip(0, size)
        return torch.from_numpy(rounds[rounds[:, 0] < rounds[:, -1]])


def rows_of(column: Tensor, rows: slice | Tensor) -> Tensor:
    """A slice of a column, or its rows of these numbers."""
    # A quarter of the time of `column[rows]`.
    return column[rows] if isinstance(rows, slice) else column.index_select(0, rows)


def _mixed(seed: int, epoch: int) -> int:
    """One 62-bit seed of two numbers, well apart for neighboring pairs."""
    return int(
        np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(2)
    )

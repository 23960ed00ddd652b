"""Embedding tables as the lecture starts them, and tables of effects of time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.features import TimeEffect
from lightning_collab.data.vocabulary import UNKNOWN_ROW

_DRAWN_LATER: ContextVar[bool] = ContextVar("tables are drawn later", default=False)


class EmbeddingTable(nn.Embedding):
    """A table whose entries are drawn uniformly from (-init_range, init_range).

    Args:
        rows: known ids and the unknown row.
        width: length of a row.
        init_range: half the width of the distribution.
    """

    def __init__(self, rows: int, width: int, init_range: float) -> None:
        self._init_range = init_range
        self._drawn_from = torch.get_rng_state()
        super().__init__(rows, width)
        nn.init.uniform_(self.weight, -init_range, init_range)
        if _DRAWN_LATER.get():
            self.weight = nn.Parameter(torch.empty_like(self.weight, device="meta"))

    def rows(self, ids: Tensor, whole_size: int) -> Tensor:
        """The rows of some ids.

        Args:
            ids: int [B].
            whole_size: ids in the whole batch over all ranks, which a table that is split over
                ranks must know.

        Returns:
            float [B, width].
        """
        found: Tensor = self(ids)
        return found

    def fill_unknown_row(self) -> None:
        """Give the unknown row the mean of the known rows."""
        weight = self.weight.data
        if len(weight) > 1:
            weight[UNKNOWN_ROW] = weight[UNKNOWN_ROW + 1 :].mean(0)

    def drawn(self) -> Tensor:
        """The entries that the table starts with, drawn again; the random numbers stay in place.

        Returns:
            float [rows, width].
        """
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._drawn_from)
            with tables_drawn_later(False):
                again = EmbeddingTable(self.num_embeddings, self.embedding_dim, self._init_range)
        return again.weight.detach()


@contextmanager
def tables_drawn_later(later: bool = True) -> Iterator[None]:
    """Tables that are made meanwhile hold nothing, but the random numbers go on as if they did.

    For a model whose tables are too large for one device: a rank that knows which rows are its own
    keeps those of `EmbeddingTable.drawn`. At most one whole table is in memory at a time.

    Args:
        later: False: they are drawn at once, though others around them are not.
    """
    token = _DRAWN_LATER.set(later)
    try:
        yield
    finally:
        _DRAWN_LATER.reset(token)


class TimeEffects(nn.ModuleList):
    """What each rating's day adds, beside the biases.

    Koren (2009), "Collaborative filtering with temporal dynamics", section 3: biases that differ
    from day to day. A pair of user and period that the training part does not have adds 0.

    Args:
        effects: which; each begins at 0.
    """

    def __init__(self, effects: Sequence[TimeEffect] = ()) -> None:
        super().__init__(PeriodEffect(effect) for effect in effects)

    def of_periods(self) -> "list[PeriodEffect]":
        """The effects by their type."""
        return [effect for effect in self if isinstance(effect, PeriodEffect)]

    def numbered_pairs(self, batch: RatingBatch) -> Tensor:
        """The pair that each rating is of, among those of all effects one after the other.

        Args:
            batch: B users and items.

        Returns:
            int64 [B, effects], counted from 1; 0: not a known one. No effects where there are no
            days.
        """
        effects = [] if batch.day is None else self.of_periods()
        numbers = batch.users.new_zeros(len(batch.users), len(effects), dtype=torch.int64)
        before = 0
        for column, effect in enumerate(effects):
            pairs = effect.pairs(batch)
            numbers[:, column] = torch.where(pairs == UNKNOWN_ROW, UNKNOWN_ROW, pairs + before)
            before += len(effect.keys)
        return numbers

    def forward(self, batch: RatingBatch) -> Tensor | None:
        """What each effect adds to each rating, float [B, effects]; None: nothing, or no days."""
        if not len(self) or batch.day is None:
            return None
        return torch.cat([effect(batch) for effect in self], dim=1)


class PeriodEffect(nn.Module):
    """One effect: of a user or an item in a period.

    Args:
        effect: the pairs that training ratings have.
    """

    keys: Tensor
    shape_: Tensor

    def __init__(self, effect: TimeEffect) -> None:
        super().__init__()
        self.register_buffer("keys", torch.from_numpy(effect.keys))
        shape = (int(effect.of == "items"), effect.days, effect.first_day, effect.periods)
        self.register_buffer("shape_", torch.tensor(shape))
        self.of, self.days = effect.of, effect.days
        self.first_day, self.periods = effect.first_day, effect.periods
        zeros = torch.zeros(len(effect.keys) + 1, 1)
        # Given, not drawn, so that the random numbers of the other tables are as without it.
        self.table = nn.Embedding(len(zeros), 1, padding_idx=UNKNOWN_ROW, _weight=zeros)

    def forward(self, batch: RatingBatch) -> Tensor:
        """Float [B, 1]."""
        effect: Tensor = self.table(self.pairs(batch))
        return effect

    def pairs(self, batch: RatingBatch) -> Tensor:
        """Which known pair each rating is of, counted from 1, int64 [B]; 0: not a known one."""
        assert batch.day is not None
        rows = (batch.users if self.of == "users" else batch.items).long()
        period = (batch.day.long() - self.first_day).div(self.days, rounding_mode="floor")
        keys = rows * self.periods + period
        inside = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        in_time = (period >= 0) & (period < self.periods)
        known = (self.keys[inside] == keys) & in_time & (rows != UNKNOWN_ROW)
        return torch.where(known, inside + 1, UNKNOWN_ROW)

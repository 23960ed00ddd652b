"""Embedding tables as the lecture starts them, and ratings from a model's raw number."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

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

"""Batches for losses that compare items: pairs with drawn items, and users with all they chose."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_collab.data.batches import EpochBatches, Share, rows_of
from lightning_collab.data.ranking_batches import Choices

if TYPE_CHECKING:
    # With numba, which other runs start without.
    from lightning_collab.data.draws import Popularity

# Streams of random numbers beside those of the order and of what models draw.
NEGATIVES = 2


class PairBatch(NamedTuple):
    """Chosen pairs, each with items drawn for its user; B is the size of this rank's share.

    Attributes:
        users: int32 [B], rows of the user vocabulary.
        items: int32 [B], rows of the item vocabulary: what these users chose.
        drawn: int32 [B, negatives], items that these users did not choose.
        weights: float32 [B], confidence of each pair; None: all 1.
        start: where this rank's pairs begin in the whole batch.
        whole_size: pairs of the whole batch over all ranks.
        draw_seed: seed of what a model draws for the whole batch (dropout masks).
    """

    users: Tensor
    items: Tensor
    drawn: Tensor
    weights: Tensor | None
    start: int
    whole_size: int
    draw_seed: int

    @property
    def terms(self) -> int:
        """Terms of the loss in this share: its pairs."""
        return len(self.users)

    @property
    def whole_terms(self) -> int:
        """Terms of the loss in the whole batch over all ranks."""
        return self.whole_size


class UserBatch(NamedTuple):
    """Users with all that they chose; U and P are this rank's share of users and of choices.

    Attributes:
        users: int32 [U], rows of the user vocabulary.
        rows: int64 [P], the place in `users` of each choice's user, ascending.
        items: int32 [P], rows of the item vocabulary: what these users chose.
        weights: float32 [P], confidence of each choice; None: all 1.
        barred_rows: int64 [D], the place in `users` of each pair that is no negative either; None:
            there are none.
        barred_items: int32 [D], the item of each of these.
        drawn: int32 [S], items that stand for the whole catalog, drawn for the whole batch by
            popularity; None: the catalog itself is looked at.
        log_expected: float32 [S], log of how often each of these is drawn in the mean.
        start: where this rank's users begin in the whole batch.
        whole_size: users of the whole batch over all ranks.
        whole_terms: choices of the whole batch over all ranks.
        draw_seed: seed of what a model draws for the whole batch (dropout masks).
    """

    users: Tensor
    rows: Tensor
    items: Tensor
    weights: Tensor | None
    barred_rows: Tensor | None
    barred_items: Tensor | None
    drawn: Tensor | None
    log_expected: Tensor | None
    start: int
    whole_size: int
    whole_terms: int
    draw_seed: int

    @property
    def terms(self) -> int:
        """Terms of the loss in this share: its choices."""
        return len(self.items)


class PairBatches(EpochBatches[PairBatch]):
    """Each chosen pair once an epoch, with newly drawn items.

    Args:
        chosen: pairs to learn from.
        barred: pairs that are never drawn; no user of `chosen` may have every item there.
        negatives: items drawn for each pair.
        by: chances of items in these draws; None: all alike.
        by_user: whether the pairs of a user come one after the other.
        device: where the tensors are kept.
        options: of `EpochBatches`.
    """

    def __init__(
        self,
        chosen: Choices,
        barred: Choices,
        *,
        negatives: int,
        by: "Popularity | None" = None,
        by_user: bool = False,
        device: torch.device | str = "cpu",
        **options: Any,
    ) -> None:
        groups = None
        if by_user:
            from lightning_collab.data.orders import Groups

            groups = Groups(np.arange(len(chosen), dtype=np.int32), chosen.starts)
        super().__init__(len(chosen), device=device, groups=groups, **options)
        self.barred, self.negatives, self.by = barred, negatives, by
        self.users = torch.from_numpy(chosen.users).to(device)
        self.items = torch.from_numpy(chosen.items).to(device)
        weights = chosen.weights
        self.weights = None if weights is None else torch.from_numpy(weights).to(device)

    def batch(self, share: Share) -> PairBatch:
        """These pairs."""
        from lightning_collab.data.draws import draw_others

        users = rows_of(self.users, share.rows)
        drawn = draw_others(
            self.barred,
            users.cpu().numpy(),
            self.epoch_seed(NEGATIVES),
            share.first + share.start,
            self.negatives,
            self.by,
        )
        return PairBatch(
            users,
            rows_of(self.items, share.rows),
            torch.from_numpy(drawn).to(self.device),
            None if self.weights is None else rows_of(self.weights, share.rows),
            share.start,
            share.whole_size,
            share.draw_seed,
        )


class UserBatches(EpochBatches[UserBatch]):
    """Each user who chose anything once an epoch, with all that the user chose.

    Args:
        chosen: pairs to learn from.
        barred: pairs that are neither chosen nor negatives; None: there are none.
        samples: items drawn for each batch in place of the whole catalog; 0: none.
        by: chances of items in these draws.
        device: where the tensors are kept.
        options: of `EpochBatches`.
    """

    def __init__(
        self,
        chosen: Choices,
        barred: Choices | None = None,
        *,
        samples: int = 0,
        by: "Popularity | None" = None,
        device: torch.device | str = "cpu",
        **options: Any,
    ) -> None:
        users = np.flatnonzero(chosen.user_counts).astype(np.int32)
        super().__init__(len(users), device=device, **options)
        self.users = torch.from_numpy(users).to(device)
        self._chosen = _Rows(chosen, self.device)
        self._barred = None if barred is None or not len(barred) else _Rows(barred, self.device)
        self._samples, self._by = samples, by

    def batch(self, share: Share) -> UserBatch:
        """These users."""
        users = rows_of(self.users, share.rows)
        rows, items, weights = self._chosen.of(users)
        barred_rows = barred_items = None
        if self._barred is not None:
            barred_rows, barred_items, _ = self._barred.of(users)
        drawn, log_expected = self._draws(share.first // self.batch_size)
        return UserBatch(
            users,
            rows,
            items,
            weights,
            barred_rows,
            barred_items,
            drawn,
            log_expected,
            share.start,
            share.whole_size,
            int(self._chosen.counts[rows_of(self.users, share.whole).long()].sum()),
            share.draw_seed,
        )

    def _draws(self, number: int) -> tuple[Tensor | None, Tensor | None]:
        """The items that stand for the catalog in one batch of the epoch."""
        if self._by is None or not self._samples:
            return None, None
        from lightning_collab.data.draws import draw_by_popularity

        drawn = draw_by_popularity(
            self._by, self.epoch_seed(NEGATIVES), number * self._samples, self._samples
        )
        log_expected = np.log(self._samples * self._by.chances[drawn - 1]).astype(np.float32)
        return (
            torch.from_numpy(drawn).to(self.device),
            torch.from_numpy(log_expected).to(self.device),
        )


class _Rows:
    """Rows of choices as tensors of a device."""

    def __init__(self, choices: Choices, device: torch.device) -> None:
        self.starts = torch.from_numpy(choices.starts).to(device)
        self.counts = self.starts.diff()
        self.items = torch.from_numpy(choices.items).to(device)
        weights = choices.weights
        self.weights = None if weights is None else torch.from_numpy(weights).to(device)

    def of(self, users: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The place of each pair's user among some users, its item and its weight."""
        users = users.long()
        counts = self.counts[users]
        rows = torch.arange(len(users), device=users.device).repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        place = torch.arange(len(rows), device=users.device)
        place += (self.starts[users] - before)[rows]
        weights = None if self.weights is None else self.weights[place]
        return rows, self.items[place], weights

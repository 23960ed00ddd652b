"""What a loss is given of the training part: ratings, chosen pairs with drawn items, or users."""

import logging
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch

from lightning_collab.config.data import BatchSize, Order, ratings_in_batch
from lightning_collab.config.model import Positives
from lightning_collab.data.batches import EpochBatches, RatingBatches
from lightning_collab.data.choice_batches import PairBatches, UserBatches
from lightning_collab.data.mapped_table import MappedBatches, MappedTable
from lightning_collab.data.ranking_batches import Choices
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits import Rows, SplitRows
from lightning_collab.errors import ConfigError, DataError

log = logging.getLogger(__name__)


class SplitRatings(Protocol):
    """What batches are made of: a `RatingDataModule`."""

    table: RatingTable
    rows: SplitRows

    @property
    def order(self) -> Order:
        """Of an epoch."""

    @property
    def learned(self) -> Choices:
        """The chosen pairs that training batches are made of."""

    def chosen(self, rows: Rows, positives: Positives) -> Choices:
        """The pairs of some rows that count as chosen."""

    def columns(self, rows: Rows) -> Any:
        """Some rows, with users and items as the training part numbers them."""


class Feed(NamedTuple):
    """What training batches are made of.

    Attributes:
        of: `ratings`, `pairs` (each with drawn items) or `users` (each with all that was chosen).
        positives: lowest rating of an item that was chosen; `all`: any.
        negatives: of pairs, items drawn for each.
        barred: whether items rated below `positives` are no negatives either.
        popularity_power: items are drawn by their number of choices to this power.
        catalogue_limit: of users, most scores of a batch before items are drawn for the catalog.
        samples: of users, how many are drawn then.
    """

    of: Literal["ratings", "pairs", "users"] = "ratings"
    positives: Positives = "all"
    negatives: int = 1
    barred: bool = True
    popularity_power: float = 0.0
    catalogue_limit: int = 0
    samples: int = 0

    def chosen(self, data: SplitRatings) -> Choices:
        """The pairs that are learned from; of drawn items, only users who left any out.

        Raises:
            DataError: there are none.
        """
        chosen = data.chosen(data.rows.train, self.positives)
        if self.of != "pairs":
            return chosen
        barred = self.never_drawn(data, chosen)
        full = barred.user_counts >= chosen.item_rows - 1
        if not full.any():
            return chosen
        kept = ~full[chosen.users]
        if not kept.any():
            raise DataError(
                f"{data.table.name}: every user has every item, so that nothing is left to draw "
                "as a negative; set loss=softmax, or use data with more items"
            )
        log.warning(
            "%d users have every item: nothing can be drawn for them, and they are left out of "
            "the training",
            full.sum(),
        )
        return Choices.of(
            chosen.users[kept],
            chosen.items[kept],
            user_rows=len(chosen.starts) - 1,
            item_rows=chosen.item_rows,
            weights=None if chosen.weights is None else chosen.weights[kept],
        )

    def samples_for(self, chosen: Choices, batch_size: BatchSize) -> int:
        """Of users, how many items are drawn for the catalog; 0: it is looked at itself."""
        users = ratings_in_batch(batch_size, int((chosen.user_counts > 0).sum()))
        fits = users * (chosen.item_rows - 1) <= self.catalogue_limit
        return 0 if fits else self.samples

    def never_drawn(self, data: SplitRatings, chosen: Choices) -> Choices:
        """The pairs that are no negatives: the chosen, and perhaps what was rated below them."""
        return data.chosen(data.rows.train, "all") if self.barred else chosen

    def disliked(self, data: SplitRatings, chosen: Choices) -> Choices | None:
        """Pairs that were rated and not chosen, where these are no negatives."""
        if self.positives == "all" or not self.barred:
            return None
        rated = data.chosen(data.rows.train, "all")
        left = ~np.isin(rated.keys, chosen.keys, assume_unique=True)
        return Choices.of(
            rated.users[left],
            rated.items[left],
            user_rows=len(rated.starts) - 1,
            item_rows=rated.item_rows,
        )


class Ranked(NamedTuple):
    """What rankings of the held-out parts are made of.

    Attributes:
        liked: lowest rating of a held-out item that was liked; `all`: any.
        most_users: of the validation part, a random sample of at most so many; None: all.
        seed: of the sample.
    """

    liked: Positives
    most_users: int | None
    seed: int


def training_batches(
    data: SplitRatings, feed: Feed, device: torch.device | str, **options: Any
) -> EpochBatches[Any]:
    """The training part as a feed asks for it.

    Args:
        data: split ratings.
        feed: what is made of them.
        device: where the tensors are kept.
        options: of `EpochBatches`.

    Raises:
        ConfigError: the order is not one of these batches.
    """
    order = data.order
    if feed.of == "ratings":
        columns = data.columns(data.rows.train)
        if isinstance(data.table, MappedTable):
            users, items, ratings, _ = columns.tensors()
            window = data.table.window
            return MappedBatches((users, items, ratings), window=window, device=device, **options)
        groups = None
        if order != "random" and options.get("shuffle"):
            from lightning_collab.data.orders import Groups

            by_user = order == "by_user"
            ids = columns.users, columns.items
            groups = Groups.by_user(ids[0]) if by_user else Groups.blocks(*ids)
        return RatingBatches(*columns.tensors(), device=device, groups=groups, **options)
    if order == "blocked":
        raise ConfigError(f'order="blocked" is of ratings, not of {feed.of}; set it to "random"')
    # numba, which other runs start without.
    from lightning_collab.data.draws import popularity

    chosen = data.learned
    by = popularity(chosen.item_counts, feed.popularity_power)
    if feed.of == "pairs":
        return PairBatches(
            chosen,
            feed.never_drawn(data, chosen),
            negatives=feed.negatives,
            by=by if feed.popularity_power else None,
            by_user=order == "by_user",
            device=device,
            **options,
        )
    samples = feed.samples_for(chosen, options["batch_size"])
    return UserBatches(
        chosen, feed.disliked(data, chosen), samples=samples, by=by, device=device, **options
    )

"""Blocks of optimizer steps: where they end, and how one is taken."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import RatingModel
from lightning_collab.training.fused.fused_optimizer import BlockLosses, StepBlock
from lightning_collab.training.fused.ranking_optimizer import RankingBlock, RankingLosses
from lightning_collab.training.schedules import Schedule, factors

# Ratings in a block of steps: a tenth of a second or so, after which Ctrl-C is heard.
BLOCK_RATINGS = 1 << 18

# Features of a batch's users and items that cost about as much as a rating of it.
FEATURES_PER_RATING = 16


def block_ends(
    model: RatingModel,
    *,
    batches: int,
    batch_size: int,
    threads: int,
    cuts: Iterable[int],
    ratings_per_row: float = 1.0,
) -> list[int]:
    """Where the blocks of an epoch end, the same in each epoch.

    A block ends with the epoch, where a cycle of the schedule ends in any epoch (whose checkpoint
    is of that step), and after so many ratings that catching up all rows costs little beside it;
    fewer where they have many features.

    Args:
        model: that is trained.
        batches: in an epoch.
        batch_size: ratings in one.
        threads: that take single ratings at once.
        cuts: further batches before which a block ends, of any epoch.
        ratings_per_row: what a row of a batch costs, in ratings.

    Returns:
        The batches before which a block ends, ascending; the last is `batches`.
    """
    rows = sum(len(table.weight) for table in _tables(model))
    ratings = max(BLOCK_RATINGS, 2 * rows) / _cost_of_features(model, batch_size)
    if threads > 1:
        # Single ratings are quick, and repartitioning needs a thread barrier.
        ratings *= 4
    most = max(1, int(ratings / ratings_per_row) // batch_size)
    ends: list[int] = []
    first = 0
    for cut in sorted({*(cut for cut in cuts if 0 < cut < batches), batches}):
        ends += [*range(first + most, cut, most), cut]
        first = cut
    return ends


def _tables(model: RatingModel) -> list[torch.nn.Embedding]:
    groups = (model.lookup_tables(), model.mapping_tables())
    return [table for tables in groups for table in tables.get("embeddings", {}).values()]


def _cost_of_features(model: RatingModel, batch_size: int) -> float:
    """How many times as much a rating costs as it would without features, roughly."""
    entries = 0.0
    for features in model.features().values():
        # Who has many features is often met: of histories, as often as there are features.
        lengths = features.indptr.diff()[1:].double()
        met = batch_size * lengths.square().sum() / lengths.sum().clamp(min=1)
        entries += min(float(met), float(lengths.sum()))
    return 1 + entries / batch_size / FEATURES_PER_RATING


def take_block(
    optimizer: Any, batch: RatingBatch, batch_size: int, schedule: Schedule, first: int
) -> BlockLosses:
    """Take the steps of a block.

    Args:
        optimizer: `FusedSteps`, in Lightning's wrapping.
        batch: ratings of several batches, in the order of their steps.
        batch_size: ratings in a step; the last may have fewer.
        schedule: of the learning rate.
        first: optimizer steps that have been done before.
    """
    steps = -(-len(batch.ratings) // batch_size)
    # The penalty of a step is wanted where somebody looks at its loss.
    block = StepBlock(batch, batch_size, factors(schedule, first, steps), steps == 1)
    optimizer.step(closure=lambda: block)
    losses: BlockLosses = optimizer.losses
    return losses


def take_ranking_block(
    optimizer: Any, batch: Any, batch_size: int, schedule: Schedule, first: int
) -> RankingLosses:
    """Take the steps of a block of a loss that ranks.

    Args:
        optimizer: `FusedRanking`, in Lightning's wrapping.
        batch: users or pairs of several batches, in the order of their steps.
        batch_size: users or pairs in a step; the last may have fewer.
        schedule: of the learning rate.
        first: optimizer steps that have been done before.
    """
    steps = -(-len(batch.users) // batch_size)
    block = RankingBlock(batch, batch_size, factors(schedule, first, steps))
    optimizer.step(closure=lambda: block)
    losses: RankingLosses = optimizer.losses
    return losses


def last_loss(losses: BlockLosses, batch: RatingBatch, batch_size: int) -> Tensor:
    """The loss of the last step of a block; with its penalty where that was asked for."""
    steps = len(losses.squared_errors)
    rows = len(batch.ratings) - (steps - 1) * batch_size
    return torch.tensor(losses.squared_errors[-1] / rows + np.sum(losses.penalties[-1:]))

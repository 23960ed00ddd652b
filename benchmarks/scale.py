"""What a rating costs with a large catalog, and among many ratings.

An epoch is what the fused engine does in one: draw the order, gather blocks of ratings by it,
take their steps. Tables and columns are made here, since no split of a million ratings knows ten
million items. Of a long epoch only the first blocks of steps are taken; the others cost the same.
"""

import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.config import ScaleConfig
from lightning_collab.config import RunConfig
from lightning_collab.config.compose import composed_run
from lightning_collab.data.batches import RatingBatch, RatingBatches
from lightning_collab.models import DatasetStatistics, build_model
from lightning_collab.training.fused.blocks import BLOCK_RATINGS
from lightning_collab.training.fused.fused_optimizer import FusedSteps, StepBlock
from lightning_collab.training.optimizers import parameter_groups

USERS = 100_000
# Ratings of an epoch that are taken, at least.
TAKEN = 1 << 22
DRAWN_AT_ONCE = 1 << 22
# The popularity of `data=synthetic`, which has the skew of MovieLens.
ZIPF_EXPONENT, FLATTENED = 0.8, 10

COMMON = ("optimizer=sgd", "optimizer.decay=per_row", "logger=none", "training.engine=fused")
WAYS = {
    "batch_64": ("data.batch_size=64", "optimizer.lr=0.02"),
    "per_sample": ("data.batch_size=1", "optimizer.momentum=0", "optimizer.lr=0.02"),
}
AIMS = {f"scale/catalogue/{way}/large_over_small": "at most 4" for way in WAYS} | {
    f"scale/ratings/{way}/many_over_few": "at most 1.3" for way in WAYS
}

# Every row runs code of ours.
CONTROLS: tuple[str, ...] = ()


class Workload(NamedTuple):
    """Ratings to take, and what takes them.

    Attributes:
        batches: the ratings and their order.
        optimizer: the fused engine's.
        rows: of both tables together.
    """

    batches: RatingBatches
    optimizer: FusedSteps
    rows: int

    @classmethod
    def of(cls, ratings: int, items: int, factors: int, overrides: Sequence[str]) -> "Workload":
        """Draw ratings and tables.

        Args:
            ratings: how many.
            items: of the catalog.
            factors: length of the embeddings.
            overrides: of the run's config.
        """
        config = composed_run(*COMMON, *overrides, f"model.factors={factors}")
        size = config.batch_size
        assert size != "full"
        users, chosen, stars = columns(ratings, items)
        batches = RatingBatches(
            *(torch.from_numpy(column) for column in (users, chosen, stars)),
            batch_size=size,
            shuffle=True,
            seed=config.seed,
        )
        return cls(batches, _optimizer(config, items), USERS + items)

    def seconds_per_rating(self) -> float:
        """Of an epoch, from the drawing of its order to the last row that is caught up."""
        batches = self.batches
        size = batches.batch_size
        started = time.perf_counter()
        order = batches.order()
        assert order is not None
        drawn = time.perf_counter()
        step_block = max(BLOCK_RATINGS, 2 * self.rows) // size * size
        taken = 0
        while taken < min(TAKEN, batches.rows):
            rows = order[taken : taken + step_block]
            steps = -(-len(rows) // size)
            ratings = RatingBatch(batches.users[rows], batches.items[rows], batches.ratings[rows])
            work = StepBlock(ratings, size, np.ones(steps))
            self.optimizer.step(closure=lambda work=work: work)  # type: ignore[misc]
            if self.optimizer.losses.taken < steps:
                raise RuntimeError("the steps of this benchmark diverge")
            taken += len(rows)
        return (drawn - started) / batches.rows + (time.perf_counter() - drawn) / taken


def run(repeats: int, settings: ScaleConfig) -> dict[str, float]:
    """Measure small and large ones in turn.

    Args:
        repeats: paired runs, of which medians are taken.
        settings: sizes.

    Returns:
        For mini-batches of 64 with momentum and for single ratings without:
        `scale/catalogue/<way>/small_ns`, `large_ns` (nanoseconds a rating) and `large_over_small`;
        `scale/ratings/<way>/few_ns`, `many_ns` and `many_over_few`. Ratios are medians over pairs.
    """
    few, many, factors = settings.few_ratings, settings.many_ratings, settings.factors
    result: dict[str, float] = {}
    for way, overrides in WAYS.items():
        small = Workload.of(few, settings.small_items, factors, overrides)
        large = Workload.of(few, settings.large_items, factors, overrides)
        result |= compared(f"scale/catalogue/{way}", "large", large, "small", small, repeats)
        del large
        more = Workload.of(many, settings.small_items, factors, overrides)
        result |= compared(f"scale/ratings/{way}", "many", more, "few", small, repeats)
    return result


def compared(
    name: str, large_name: str, large: Workload, small_name: str, small: Workload, repeats: int
) -> dict[str, float]:
    """Nanoseconds a rating of two workloads, measured in turn.

    Args:
        name: of the case.
        large_name: of the first.
        large: the one whose cost is divided by the other's.
        small_name: of the second.
        small: the other.
        repeats: rounds.
    """
    # Pages that were never touched, and kernels that were never called, cost at first.
    large.seconds_per_rating()
    small.seconds_per_rating()
    pairs = [(large.seconds_per_rating(), small.seconds_per_rating()) for _ in range(repeats)]
    of_large, of_small = (statistics.median(each) * 1e9 for each in zip(*pairs, strict=True))
    return {
        f"{name}/{small_name}_ns": of_small,
        f"{name}/{large_name}_ns": of_large,
        f"{name}/{large_name}_over_{small_name}": statistics.median(
            one / other for one, other in pairs
        ),
    }


def columns(
    ratings: int, items: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Users alike, items by popularity with popular ones anywhere in the table, whole stars.

    Args:
        ratings: how many.
        items: of the catalog.

    Returns:
        int32 [ratings] users and items, from 1 on; float32 [ratings] ratings of 1 to 5.
    """
    random = np.random.default_rng(0)
    by_rank = np.cumsum((np.arange(items) + 1.0 + FLATTENED) ** -ZIPF_EXPONENT)
    by_rank /= by_rank[-1]
    row_of_rank = random.permutation(items).astype(np.int32)
    row_of_rank += 1
    users = random.integers(1, USERS + 1, ratings, dtype=np.int32)
    chosen = np.empty(ratings, np.int32)
    for start in range(0, ratings, DRAWN_AT_ONCE):
        part = chosen[start : start + DRAWN_AT_ONCE]
        rank = np.searchsorted(by_rank, random.random(len(part)))
        part[:] = row_of_rank[np.minimum(rank, items - 1)]
    stars = random.integers(1, 6, ratings, dtype=np.int8).astype(np.float32)
    return users, chosen, stars


def _optimizer(config: RunConfig, items: int) -> FusedSteps:
    torch.manual_seed(config.seed)
    statistics = DatasetStatistics(
        user_rows=USERS + 1, item_rows=items + 1, rating_range=(1.0, 5.0), mean_rating=3.0
    )
    model = build_model(config.model, statistics)
    return FusedSteps(
        parameter_groups(model, config.optimizer), config.optimizer, model, lazy=False, clip=None
    )

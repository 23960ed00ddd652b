"""Several scorers as one: weighted sums of their standardized scores."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_collab.config.model import Positives
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.metrics.rankings import Scorer, check_top_k, rank_users

# What each weight is tried at, as a share of the largest.
STEPS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
MOST_ROUNDS = 5
# Users of the validation part by whom weights are chosen, and scores kept of them: 512 MiB.
TRIED_USERS = 2_000
SCORES_KEPT = 1 << 27


class Blend:
    """The sum of w_m * (s_m - mean) / deviation over scorers m, for each user by itself.

    Scores of different losses differ in scale, and those of one loss from user to user: each user's
    scores of the whole catalog get mean 0 and standard deviation 1 before they are added.

    Args:
        scorers: of the same items.
        weights: of each, 0 or more.
    """

    def __init__(self, scorers: Sequence[Scorer], weights: Sequence[float]) -> None:
        self.items = scorers[0].items
        self._parts = [
            (scorer, weight) for scorer, weight in zip(scorers, weights, strict=True) if weight
        ]

    def of_users(self, users: Tensor, out: Tensor | None = None) -> Tensor:
        """Scores of b users for all known items, float32 [b, items]."""
        total = torch.empty(len(users), self.items) if out is None else out
        total.zero_()
        for scorer, weight in self._parts:
            total.add_(standardised(scorer.of_users(users)), alpha=weight)
        return total


def standardised(scores: Tensor) -> Tensor:
    """Scores with mean 0 and standard deviation 1 in each row; constant rows become 0.

    Args:
        scores: float32 [b, items].
    """
    centred = scores - scores.mean(1, keepdim=True)
    deviation = centred.square().mean(1, keepdim=True).sqrt()
    return centred / torch.where(deviation > 0, deviation, 1)


class _Kept:
    """Standardized scores of all users that are asked for, computed once."""

    def __init__(self, scorer: Scorer, users: Tensor, rows: int) -> None:
        self.items = scorer.items
        self._scores = standardised(scorer.of_users(users))
        self._place = torch.zeros(rows, dtype=torch.int64)
        self._place[users.long()] = torch.arange(len(users))

    def of_users(self, users: Tensor, out: Tensor | None = None) -> Tensor:
        """As of the scorer, but standardized."""
        return torch.index_select(self._scores, 0, self._place[users.long()])


class Blended(NamedTuple):
    """Weights that were chosen, and by what.

    Attributes:
        weights: one for each scorer, 0 or more; the largest is 1.
        value: what they reach of the metric that they were chosen by.
    """

    weights: list[float]
    value: float


@torch.no_grad()
def blend_weights(
    scorers: Sequence[Scorer], data: RatingDataModule, *, liked: Positives, k: int, seed: int = 42
) -> Blended:
    """Weights of a blend that rank the validation part best, one weight changed at a time.

    It starts at the best of each scorer alone and all alike, and takes the best of a few values for
    one weight after the other, until none gets better. Of at most 2,000 users.

    Args:
        scorers: of the same items, on the CPU.
        data: split ratings.
        liked: lowest rating of a held-out item that was liked; `all`: any.
        k: NDCG@k is what counts.
        seed: of the sample of users, and of the order of items with equal scores.

    Raises:
        DataError: as `rank_part`, for the validation part.
    """
    check_top_k([k], scorers[0].items)
    most = max(1, min(TRIED_USERS, SCORES_KEPT // (len(scorers) * scorers[0].items)))
    batches = data.ranking_batches("val", liked, most_users=most, seed=seed, whole=True)
    users = torch.cat([batch.users for batch in batches])
    rows = len(data.user_vocabulary)
    kept = [_Kept(scorer, users, rows) for scorer in scorers]
    item_counts = data.chosen(data.rows.train, "all").item_counts[1:]

    def value(weights: Sequence[float]) -> float:
        return rank_users(Blend(kept, weights), batches, "", [k], item_counts, seed)[f"ndcg@{k}"]

    count = len(scorers)
    starts = [[float(one == each) for each in range(count)] for one in range(count)]
    starts.append([1.0] * count)
    best = max((Blended(each, value(each)) for each in starts), key=lambda blend: blend.value)
    for _ in range(MOST_ROUNDS):
        before = best
        for place in range(count):
            for step in STEPS:
                weights = [*best.weights[:place], step, *best.weights[place + 1 :]]
                if any(weights) and (found := value(weights)) > best.value:
                    best = Blended(weights, found)
        if best is before:
            break
    largest = max(best.weights)
    return Blended([weight / largest for weight in best.weights], best.value)

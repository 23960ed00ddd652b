"""How well the first items of a ranking of the whole catalog are those that people liked."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from lightning_collab.config.model import MEANS_OVER_USERS, Positives
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.ranking_batches import RankingBatch, RankingBatches
from lightning_collab.errors import DataError


class Scorer(Protocol):
    """What can be ranked by: `ItemScores` of a model, or a baseline."""

    @property
    def items(self) -> int:
        """How many items are scored: all known ones."""

    def of_users(self, users: Tensor, out: Tensor | None = None) -> Tensor:
        """Scores of b users for all known items, float32 [b, items]; may be changed afterwards.

        Args:
            users: int32 [b], rows.
            out: float32 [b, items], memory that may be used for them.
        """


class RankingMetrics(Metric):
    """Means over users of how well held-out items are found, and what is shown to them.

    The whole catalog is ranked; nothing is sampled, since metrics on a sample of items order
    models differently (Krichene and Rendle 2020, "On sampled metrics for item recommendation").
    With h_p = 1 where the item at place p of a user's ranking is one of the n that the user liked,
    items that the model cannot know among these:

    - `ndcg@k`: sum of h_p / log2(1 + p) for p up to k, divided by the same sum of the best ranking,
      of 1 / log2(1 + p) for p up to min(n, k) (Järvelin and Kekäläinen 2002).
    - `recall@k`: sum of h_p up to k, divided by n; `precision@k`: divided by k; `hit_rate@k`: 1
      where it is not 0.
    - `mrr@k`: 1 / p of the first h_p = 1 up to k; 0 where there is none.
    - `map@k`: sum for p up to k of h_p times the precision at p, divided by min(n, k).
    - `coverage@k`: share of the catalog that is among the first k of anybody.
    - `mean_popularity@k`: mean of `item_counts` over all that is shown.
    - `gini@k`: Gini coefficient of how often each item of the catalog is shown; 0: all alike,
      near 1: a few items have everything.

    Of equal scores, the first is the one that comes first in an order of the catalog drawn from
    the seed: in the order of rows, which is often that of popularity or of the data, a constant
    score would look like a good one. What is summed is summed in double precision and over all
    ranks before anything is divided.

    Args:
        prefix: of the names, such as `val/`.
        top_k: numbers of items that are looked at, ascending.
        item_counts: int64 [known items], training positives of each.
        seed: of the order of items with equal scores.
        sync_on_compute: whether the users of all ranks are summed up.

    Raises:
        DataError: the last of `top_k` is more than there are items.
    """

    full_state_update = False
    sums: Tensor
    users: Tensor
    exposure: Tensor
    item_counts: Tensor
    order: Tensor

    def __init__(
        self,
        prefix: str,
        top_k: Sequence[int],
        item_counts: NDArray[np.int64],
        seed: int,
        *,
        sync_on_compute: bool = True,
    ) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.prefix, self.top_k = prefix, tuple(top_k)
        items = len(item_counts)
        check_top_k(self.top_k, items)
        order = np.random.default_rng(seed).permutation(items)
        self._places = np.argsort(order).astype(np.int32)
        self.register_buffer("order", torch.from_numpy(order), persistent=False)
        counts = torch.from_numpy(item_counts.astype(np.int64))
        self.register_buffer("item_counts", counts, persistent=False)
        cuts = len(self.top_k)
        sums = torch.zeros(len(MEANS_OVER_USERS), cuts, dtype=torch.float64)
        self.add_state("sums", sums, dist_reduce_fx="sum")
        self.add_state("users", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        exposure = torch.zeros(cuts, items, dtype=torch.int64)
        self.add_state("exposure", exposure, dist_reduce_fx="sum")

    def update(self, scores: Tensor, batch: RankingBatch) -> None:
        """Add a block of users.

        Args:
            scores: float32 [U, items], the better, the higher; those of seen items become -inf.
                -inf and NaN are never shown.
            batch: the users that they are of.
        """
        columns = self._first(scores, batch)
        hits = _hits(columns, batch, scores.shape[1] + 1)
        liked = batch.liked_starts.diff()
        self.sums += torch.stack([_sums(hits[:, :k], liked) for k in self.top_k], dim=1)
        self.users += len(columns)
        # What is not shown is counted in a column of its own.
        shown = (columns + 1).long()
        for cut, k in enumerate(self.top_k):
            of_all = shown.new_zeros(scores.shape[1] + 1)
            each = shown[:, :k].flatten()
            self.exposure[cut] += of_all.scatter_add_(0, each, torch.ones_like(each))[1:]

    def _first(self, scores: Tensor, batch: RankingBatch) -> Tensor:
        """The columns of the first items of each user, int [U, last k]; -1: there are no more."""
        k = self.top_k[-1]
        if scores.device.type == "cpu":
            # numba takes a while to import.
            from lightning_collab.models.scoring_kernels import best_unseen

            found, _ = best_unseen(
                scores.float().numpy(),
                batch.seen_starts.numpy(),
                batch.seen.numpy(),
                k,
                self._places,
            )
            return torch.from_numpy(found)
        return first_of_sorted(scores, batch, k, self.order)

    def compute(self) -> dict[str, Tensor]:
        """The metrics so far, float32 scalars by their names; nothing before the first user."""
        if self.users == 0:
            return {}
        means = self.sums / self.users
        found = {
            f"{name}@{k}": means[row, cut]
            for row, name in enumerate(MEANS_OVER_USERS)
            for cut, k in enumerate(self.top_k)
        }
        for k, shown in zip(self.top_k, self.exposure.double(), strict=True):
            total = shown.sum().clamp(min=1)
            found[f"coverage@{k}"] = (shown > 0).double().mean()
            found[f"mean_popularity@{k}"] = shown @ self.item_counts.double() / total
            found[f"gini@{k}"] = _gini(shown)
        return {f"{self.prefix}{name}": value.float() for name, value in found.items()}


def check_top_k(top_k: Sequence[int], items: int) -> None:
    """Whether so many items can be shown.

    Args:
        top_k: numbers of items, ascending.
        items: how many there are.

    Raises:
        DataError: they cannot.
    """
    if top_k[-1] > items:
        raise DataError(
            f"top_k={top_k[-1]} is more than the {items:,} items of the training part; set a "
            "smaller metrics.top_k (of evaluate: top_k)"
        )


def first_of_sorted(scores: Tensor, batch: RankingBatch, k: int, order: Tensor) -> Tensor:
    """The columns of the k highest unseen scores of each user, by torch on any device.

    Args:
        scores: float32 [U, items]; those of seen items become -inf.
        batch: the users that they are of.
        k: how many.
        order: int64 [items], the columns in the order in which equal scores are looked at.

    Returns:
        int64 [U, k], -1 where there are no more.
    """
    users = torch.arange(len(scores), device=scores.device)
    owner = torch.repeat_interleave(users, batch.seen_starts.diff(), output_size=len(batch.seen))
    scores[owner, batch.seen.long()] = -torch.inf
    ordered = scores.index_select(1, order)
    # To topk, NaN is the highest of all.
    ordered.nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    best, places = ordered.topk(k, dim=1)
    return torch.where(best > -torch.inf, order[places], -1)


def _hits(columns: Tensor, batch: RankingBatch, item_rows: int) -> Tensor:
    """Whether the items that are shown are liked, bool [U, k]."""
    if not len(batch.liked):
        return torch.zeros_like(columns, dtype=torch.bool)
    users = torch.arange(len(columns), device=columns.device)
    owner = torch.repeat_interleave(users, batch.liked_starts.diff(), output_size=len(batch.liked))
    liked = owner * item_rows + batch.liked
    shown = users[:, None] * item_rows + columns + 1
    place = torch.searchsorted(liked, shown).clamp(max=len(liked) - 1)
    return (columns >= 0) & (liked[place] == shown)


def _sums(hits: Tensor, liked: Tensor) -> Tensor:
    """Sums over users of the numbers of one k, in the order of `MEANS_OVER_USERS`.

    Args:
        hits: bool [U, k].
        liked: int64 [U], how many items each user liked.
    """
    k = hits.shape[1]
    places = torch.arange(1, k + 1, dtype=torch.float64, device=hits.device)
    hit, most = hits.double(), liked.clamp(max=k)
    discounts = 1 / torch.log2(1 + places)
    ideal = discounts.cumsum(0)[most - 1]
    found = hit.sum(1)
    numbers = {
        "ndcg": hit @ discounts / ideal,
        "recall": found / liked,
        "precision": found / k,
        "mrr": (hit / places).amax(1),
        "hit_rate": (found > 0).double(),
        "map": (hit * hit.cumsum(1) / places).sum(1) / most,
    }
    return torch.stack([numbers[name].sum() for name in MEANS_OVER_USERS])


def _gini(counts: Tensor) -> Tensor:
    """The Gini coefficient of n counts x, ascending: sum of (2 i - n - 1) x_i / (n sum of x)."""
    n = len(counts)
    weights = 2 * torch.arange(1, n + 1, dtype=torch.float64, device=counts.device) - n - 1
    return weights @ counts.sort().values / (n * counts.sum()).clamp(min=1)


@torch.no_grad()
def rank_part(
    scorer: Scorer,
    data: RatingDataModule,
    part: str,
    *,
    liked: Positives,
    top_k: Sequence[int],
    positives: Positives = "all",
    most_users: int | None = None,
    seed: int = 42,
) -> dict[str, float]:
    """Rank the whole catalog for the users of a held-out part, on the CPU and on no trainer.

    Args:
        scorer: scores on the CPU of the items of `data`.
        data: split ratings.
        part: `val`: what a user rated in the training part is left out; `test`: what the user rated
            in the validation part as well.
        liked: lowest rating of a held-out item that was liked; `all`: any.
        top_k: numbers of items that are looked at, ascending.
        positives: which training ratings count for `mean_popularity`.
        most_users: a random sample of at most so many users; None: all.
        seed: of that sample, and of the order of items with equal scores.

    Returns:
        The numbers of `RankingMetrics` by their names, such as `test/ndcg@10`.

    Raises:
        DataError: no user who has training ratings liked anything in this part, or the last of
            `top_k` is more than there are items.
    """
    check_top_k(top_k, scorer.items)
    batches = data.ranking_batches(part, liked, most_users=most_users, seed=seed, whole=True)
    item_counts = data.chosen(data.rows.train, positives).item_counts[1:]
    return rank_users(scorer, batches, f"{part}/", top_k, item_counts, seed)


def rank_users(
    scorer: Scorer,
    batches: RankingBatches,
    prefix: str,
    top_k: Sequence[int],
    item_counts: NDArray[np.int64],
    seed: int,
) -> dict[str, float]:
    """Rank the whole catalog for some users, in this process alone.

    Args:
        scorer: scores on the CPU.
        batches: the users, on the CPU.
        prefix: of `RankingMetrics`; so are the next three.
        top_k: see there.
        item_counts: see there.
        seed: see there.
    """
    # These are all users: other ranks have nothing to add, and NCCL takes no sums of the CPU.
    metrics = RankingMetrics(prefix, top_k, item_counts, seed, sync_on_compute=False)
    memory: Any = None
    for batch in batches:
        count = len(batch.users)
        if memory is None or len(memory) < count:
            memory = torch.empty(count, scorer.items)
        metrics.update(scorer.of_users(batch.users, memory[:count]), batch)
    return {name: float(value) for name, value in metrics.compute().items()}

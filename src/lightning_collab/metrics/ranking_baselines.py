"""What any recommender must beat: the most popular items, item-kNN, EASE; and a run beside them."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from lightning_collab.config import RunConfig
from lightning_collab.config.model import Positives
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.ranking_batches import Choices, RankingBatches
from lightning_collab.data.table_cache import cache_folder
from lightning_collab.errors import DataError, StorageError
from lightning_collab.metrics.rankings import Scorer, check_top_k, rank_part, rank_users
from lightning_collab.models.ease import (
    EASE_PENALTY,
    SIMILARITIES_AT_A_TIME,
    SumOfWeights,
    chosen_matrix,
    ease,
)
from lightning_collab.runs.files import write_atomically

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

NAMES = ("most_popular", "item_knn", "ease")
# Of what is computed here; another one where its numbers change.
VERSION = 2
NEIGHBORS = 200
# Items up to which EASE is fitted: its matrix then has 400 MB.
EASE_ITEMS = 10_000
# That of 400 does best on MovieLens 100K; the others are tried where that takes seconds.
EASE_PENALTIES = (100.0, 200.0, 400.0, 800.0)
TRIED_ITEMS, TRIED_USERS = 4_000, 2_000


class MostPopular:
    """The score of an item is the number of its users, whoever asks.

    Args:
        chosen: what each user chose.
    """

    def __init__(self, chosen: Choices) -> None:
        self.items = chosen.item_rows - 1
        self._counts = torch.from_numpy(chosen.item_counts[1:].astype(np.float32))

    def of_users(self, users: Tensor, out: Tensor | None = None) -> Tensor:
        """Scores of b users for all known items, float32 [b, items]."""
        scores = torch.empty(len(users), self.items) if out is None else out
        return scores.copy_(self._counts.expand_as(scores))


def item_knn(matrix: csr_matrix, neighbors: int = NEIGHBORS) -> SumOfWeights:
    """Item-based nearest neighbors.

    Deshpande and Karypis (2004), "Item-based top-N recommendation algorithms", with the cosine of
    the columns of the matrix as the similarity of two items.

    Args:
        matrix: float32 [user rows, items], 1 where a user chose an item.
        neighbors: of each item those that are most similar to it count, at most so many.
    """
    counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
    lengths = np.sqrt(np.maximum(counts, 1)).astype(np.float32)
    by_item = csr_matrix(matrix.T)
    items = matrix.shape[1]
    step = max(1, SIMILARITIES_AT_A_TIME // items)
    rows, columns, values = [], [], []
    for first in range(0, items, step):
        block = (by_item[first : first + step] @ matrix).toarray()
        block /= lengths[first : first + step, None] * lengths
        block[np.arange(len(block)), first + np.arange(len(block))] = 0
        if neighbors < items:
            nearest = _highest(block, neighbors)
        else:
            nearest = np.broadcast_to(np.arange(items), block.shape)
        rows.append(nearest.ravel())
        columns.append(np.repeat(first + np.arange(len(block)), nearest.shape[1]))
        values.append(np.take_along_axis(block, nearest, axis=1).ravel())
    place = np.concatenate(rows), np.concatenate(columns)
    weights = csr_matrix((np.concatenate(values), place), shape=(items, items))
    weights.eliminate_zeros()
    return SumOfWeights(matrix, weights)


def _highest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """The columns of the highest values of each row [rows, count], of equal ones the first.

    `argpartition` leaves it to the CPU which of equal values are taken.
    """
    least = np.partition(values, -count, axis=1)[:, -count, None]
    above, equal = values > least, values == least
    left = count - above.sum(axis=1, keepdims=True)
    taken = above | (equal & (equal.cumsum(axis=1, dtype=np.int32) <= left))
    return np.nonzero(taken)[1].reshape(len(values), count)


class _Task:
    """What the baselines of one part are computed of."""

    def __init__(
        self,
        data: RatingDataModule,
        part: str,
        *,
        positives: Positives,
        liked: Positives,
        top_k: Sequence[int],
        seed: int,
    ) -> None:
        self.chosen = data.chosen(data.rows.train, positives)
        check_top_k(top_k, self.chosen.item_rows - 1)
        self.top_k, self.seed = tuple(top_k), seed
        self.measured = data.ranking_batches(part, liked, whole=True)
        self.tried: RankingBatches | None = None
        if part == "test" and len(data.rows.val) and self.chosen.item_rows - 1 <= TRIED_ITEMS:
            try:
                self.tried = data.ranking_batches(
                    "val", liked, most_users=TRIED_USERS, seed=seed, whole=True
                )
            except DataError:
                log.debug("EASE: nobody liked anything in the validation part")

    def fingerprint(self) -> str:
        """The SHA-256 of all that the numbers follow from, in hexadecimal."""
        total = hashlib.sha256(repr((VERSION, self.top_k, self.seed)).encode())
        tensors: list[Any] = [np.int64(self.chosen.item_rows), self.chosen.starts]
        tensors.append(self.chosen.items)
        for batches in (self.measured, self.tried):
            for batch in batches or ():
                tensors += [each.numpy() for each in batch]
        for each in tensors:
            total.update(f"{each.dtype} {each.shape}\0".encode())
            total.update(np.ascontiguousarray(each).data)
        return total.hexdigest()

    def numbers(self) -> dict[str, float]:
        """Of each baseline."""
        log.info("ranking by the baselines: most popular, item-kNN, EASE")
        found = self._of("most_popular", MostPopular(self.chosen))
        found |= self._of("item_knn", item_knn(self._matrix))
        if self.chosen.item_rows - 1 <= EASE_ITEMS:
            penalty, scorer = self._best_ease()
            found |= self._of("ease", scorer)
            found["baseline/ease/penalty"] = penalty
        return found

    @cached_property
    def _matrix(self) -> csr_matrix:
        return chosen_matrix(self.chosen)

    def _best_ease(self) -> tuple[float, SumOfWeights]:
        """The penalty that ranks the validation part best, without one the usual; and its fit."""
        if self.tried is None:
            return EASE_PENALTY, ease(self._matrix, EASE_PENALTY)
        fits = ((penalty, ease(self._matrix, penalty)) for penalty in EASE_PENALTIES)
        name = f"ndcg@{self.top_k[0]}"
        tried = self.tried
        return max(fits, key=lambda fit: self._rank(fit[1], tried, "")[name])

    def _of(self, name: str, scorer: Scorer) -> dict[str, float]:
        return self._rank(scorer, self.measured, f"baseline/{name}/")

    def _rank(self, scorer: Scorer, batches: RankingBatches, prefix: str) -> dict[str, float]:
        counts = self.chosen.item_counts[1:]
        with torch.no_grad():
            return rank_users(scorer, batches, prefix, self.top_k, counts, self.seed)


def ranking_baselines(
    data: RatingDataModule,
    *,
    positives: Positives,
    liked: Positives,
    top_k: Sequence[int],
    part: str = "test",
    seed: int = 42,
) -> dict[str, float]:
    """Most popular, item-kNN and EASE, fitted to the training positives and measured on a part.

    They are kept in the user's cache folder, found again by all that they follow from.

    Args:
        data: split ratings.
        positives: lowest rating of a training pair that was chosen; `all`: any.
        liked: lowest rating of a held-out item that was liked; `all`: any.
        top_k: numbers of items that are looked at, ascending.
        part: `test` or `val`.
        seed: of the order of items with equal scores.

    Returns:
        The numbers of `RankingMetrics` under `baseline/most_popular/`, `baseline/item_knn/` and, of
        up to 10,000 items, `baseline/ease/`; with `baseline/ease/penalty`, its lambda: up to 4,000
        items the best of 100, 200, 400 and 800 for at most 2,000 users of the validation part,
        else 400.

    Raises:
        DataError: as `rank_part`; or no training rating is as high as `positives`.
    """
    task = _Task(data, part, positives=positives, liked=liked, top_k=top_k, seed=seed)
    return _kept(cache_folder() / "rankings" / f"{task.fingerprint()}.json", task.numbers)


def _kept(file: Path, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Numbers of a file; computed and written where there is none that can be read."""
    try:
        return _numbers(json.loads(file.read_text()))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError) as error:
        log.warning("the baselines in %s cannot be read (%s); computing them again", file, error)
    found = compute()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(found, indent=2))
    except (OSError, StorageError) as error:
        log.warning("baselines cannot be kept in %s (%s)", file.parent, error)
    return found


def _numbers(content: Any) -> dict[str, float]:
    if not isinstance(content, Mapping) or not content:
        raise ValueError("it holds no numbers by name")
    return {str(name): float(value) for name, value in content.items()}


def run_rankings(
    scorer: Scorer,
    data: RatingDataModule,
    config: RunConfig,
    *,
    top_k: Sequence[int] | None = None,
    liked: Positives | None = None,
) -> dict[str, float]:
    """Rank both held-out parts, as far as they are there, and the last of them by the baselines.

    Args:
        scorer: of the run's model, on the CPU.
        data: its ratings.
        config: of the run, which says what is left open here.
        top_k: numbers of items that are looked at, ascending.
        liked: lowest rating of a held-out item that was liked; `all`: any.

    Returns:
        By the names of metrics.json: `test/ndcg@10`, `baseline/ease/ndcg@10` and so on.

    Raises:
        DataError: as `rank_part`, for one of these parts.
    """
    top_k = config.metrics.top_k if top_k is None else top_k
    liked = config.liked if liked is None else liked
    # A run on ratings has no positives: the baselines are then fitted to what is looked for.
    positives: Positives = liked if config.positives is None else config.positives
    parts = [part for part in ("val", "test") if len(getattr(data.rows, part))]
    found: dict[str, float] = {}
    for part in parts:
        found |= rank_part(
            scorer, data, part, liked=liked, top_k=top_k, positives=positives, seed=config.seed
        )
    if parts:
        found |= ranking_baselines(
            data, positives=positives, liked=liked, top_k=top_k, part=parts[-1], seed=config.seed
        )
    return found

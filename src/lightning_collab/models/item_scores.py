"""What a model holds of every item, for some users at a time."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import EmbeddingDotBias, MatrixProduct, RatingModel
from lightning_collab.models.bayesian_factors import BayesianFactors
from lightning_collab.models.scoring_kernels import Floats, Ints, pair_products

UserRows = dict[str, Tensor]
"""For each group of tables (`embeddings`, `biases`): float [b, width], the rows of b users."""
Tables = dict[str, dict[str, Tensor]]

PAIRS_AT_A_TIME = 1 << 17


class ItemScores(ABC):
    """Scores of all known items, in the order of their ratings.

    Args:
        model: a trained one, in evaluation mode.
        tables: of the model: for each group, float [rows, width] of `users` and of `items`.
    """

    def __init__(self, model: RatingModel, tables: Tables) -> None:
        self.model = model
        self.tables = tables

    @property
    def items(self) -> int:
        """How many items are scored: those that the model knows."""
        return len(self.tables["embeddings"]["items"]) - 1

    def of_users(self, users: slice, out: Tensor | None = None) -> Tensor:
        """Scores of b users for every known item, float32 [b, items]: the better, the higher.

        Args:
            users: rows of the model.
            out: where to put them; new memory for each block of users takes time of its own.
        """
        rows = {group: table["users"][users] for group, table in self.tables.items()}
        return self.of_rows(rows, out)

    @abstractmethod
    def of_rows(self, rows: UserRows, out: Tensor | None = None) -> Tensor:
        """The same of users who need not be the model's own.

        Args:
            rows: table rows of the b users.
            out: where to put them.
        """

    @abstractmethod
    def ratings(self, scores: Tensor) -> Tensor:
        """Ratings of scores, not clamped, in the same shape."""


class DotProductScores(ItemScores):
    """Of models whose rating grows with one dot product: one matrix product scores a block.

    Biases are two more columns: <(p, b, 1), (q, 1, c)> = <p, q> + b + c.
    """

    def __init__(self, model: RatingModel, tables: Tables) -> None:
        super().__init__(model, tables)
        one = tables["embeddings"]["users"].new_ones
        users, items = [tables["embeddings"]["users"]], [tables["embeddings"]["items"]]
        if "biases" in tables:
            user_bias, item_bias = tables["biases"]["users"], tables["biases"]["items"]
            users += [user_bias, one(len(user_bias), 1)]
            items += [one(len(item_bias), 1), item_bias]
        self._user_vectors: Floats = torch.cat(users, dim=1).float().contiguous().numpy()
        self._item_vectors: Floats = torch.cat(items, dim=1).float().contiguous().numpy()
        self._known_items = torch.from_numpy(self._item_vectors[1:]).T

    def of_users(self, users: slice, out: Tensor | None = None) -> Tensor:
        """The dot products themselves."""
        return torch.mm(torch.from_numpy(self._user_vectors[users]), self._known_items, out=out)

    def of_rows(self, rows: UserRows, out: Tensor | None = None) -> Tensor:
        """The dot products themselves."""
        vectors = rows["embeddings"]
        if "biases" in rows:
            vectors = torch.cat([vectors, rows["biases"], torch.ones_like(rows["biases"])], dim=1)
        return torch.mm(vectors.float(), self._known_items, out=out)

    def ratings(self, scores: Tensor) -> Tensor:
        """The model's output of the dot product."""
        if isinstance(self.model, EmbeddingDotBias):
            rating: Tensor = self.model.output(scores)
            return rating
        return scores

    def of_pairs(self, users: Ints, items: Ints) -> Tensor:
        """Ratings of pairs, float32 [n], not clamped.

        Args:
            users: int32 [n], rows of the model, the unknown one too.
            items: int32 [n], rows of the model, the unknown one too.
        """
        products = pair_products(self._user_vectors, self._item_vectors, users, items)
        return self.ratings(torch.from_numpy(products))


class SampleMeanScores(ItemScores):
    """Of a model that averages the predictions of samples: a matrix product for each of them."""

    def __init__(self, model: BayesianFactors, tables: Tables) -> None:
        super().__init__(model, tables)
        self._samples = model
        self._of_means = DotProductScores(model, tables)

    def of_users(self, users: slice, out: Tensor | None = None) -> Tensor:
        """Means over the samples, less the mean rating."""
        count = int(self._samples.kept)
        if count == 0:
            return self._of_means.of_users(users, out)
        # Biases are linear, so that the mean over samples is that in the tables.
        of_users, of_items = (self.tables["biases"][side] for side in ("users", "items"))
        scores = torch.add(of_users[users], of_items[1:].T, out=out)
        for number in range(count):
            own = self._samples.user_samples[number, users, 1:]
            scores.addmm_(own, self._samples.item_samples[number, 1:, 1:].T, alpha=1 / count)
        return scores

    def of_rows(self, rows: UserRows, out: Tensor | None = None) -> Tensor:
        """Of the mean factors, less the mean rating: samples know nothing of other users."""
        return self._of_means.of_rows(rows, out)

    def ratings(self, scores: Tensor) -> Tensor:
        """With the mean rating."""
        return scores + self._samples.mean_rating


class PairwiseScores(ItemScores):
    """Of any other model: every pair goes through it, some at a time."""

    def of_rows(self, rows: UserRows, out: Tensor | None = None) -> Tensor:
        """The ratings themselves."""
        count = len(rows["embeddings"])
        scores = torch.empty(count, self.items) if out is None else out
        step = max(1, PAIRS_AT_A_TIME // self.items)
        for start in range(0, count, step):
            part = {group: values[start : start + step] for group, values in rows.items()}
            scores[start : start + step] = self._of_block(part)
        return scores

    def ratings(self, scores: Tensor) -> Tensor:
        """The same."""
        return scores

    def _of_block(self, rows: UserRows) -> Tensor:
        count = len(rows["embeddings"])
        users = torch.arange(count).repeat_interleave(self.items)
        items = torch.arange(1, self.items + 1).repeat(count)
        pairs = {
            group: (values[users], self.tables[group]["items"][items])
            for group, values in rows.items()
        }
        return rate_rows(self.model, pairs).view(count, self.items)


def item_scores(model: RatingModel) -> ItemScores:
    """The fastest scores that are exact for a model.

    Args:
        model: a trained one, in evaluation mode.
    """
    tables = model.effective_tables()
    if isinstance(model, BayesianFactors):
        return SampleMeanScores(model, tables)
    if isinstance(model, EmbeddingDotBias | MatrixProduct):
        return DotProductScores(model, tables)
    return PairwiseScores(model, tables)


def rate_rows(model: RatingModel, rows: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Ratings of pairs whose table rows are known, whoever they belong to.

    Args:
        model: whose `rate` is asked.
        rows: for each group, float [n, width] of users and of items.
    """
    nobody = torch.zeros(len(rows["embeddings"][0]), dtype=torch.int32)
    return model.rate(rows, RatingBatch(nobody, nobody, nobody.float()))


def no_seen(count: int) -> tuple[np.ndarray, Ints]:
    """For `best_unseen` where nothing is left out of `count` rows."""
    return np.zeros(count + 1, dtype=np.int64), np.empty(0, dtype=np.int32)

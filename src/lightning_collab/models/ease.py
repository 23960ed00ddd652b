"""Scores that are sums of weights between items, and EASE, which finds weights in closed form."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from lightning_collab.data.batches import RatingBatch, rows_of
from lightning_collab.data.ranking_batches import Choices
from lightning_collab.models.config import EaseConfig
from lightning_collab.models.embedding_table import EmbeddingTable
from lightning_collab.models.item_scores import ItemScores, Rows, UserRows
from lightning_collab.models.rating_model import RatingModel
from lightning_collab.models.rating_output import DatasetStatistics

Floats = NDArray[np.float32]

EASE_PENALTY = 400.0
# Numbers of a block of items by items: 32 MiB.
SIMILARITIES_AT_A_TIME = 1 << 23


class SumOfWeights:
    """The score of an item is the sum of its weights with the items that the user chose.

    Args:
        chosen: float32 [user rows, items], 1 where a user chose an item.
        weights: float32 [items, items], sparse or dense; column j has what counts for item j.
    """

    def __init__(self, chosen: csr_matrix, weights: Any) -> None:
        self.items = chosen.shape[1]
        self.users = chosen.shape[0]
        self._chosen, self.weights = chosen, weights

    def of_users(self, users: Tensor, out: Tensor | None = None) -> Tensor:
        """Scores of b users for all known items, float32 [b, items]."""
        scores = self._chosen[users.numpy()] @ self.weights
        if isinstance(scores, csr_matrix):
            scores = scores.toarray()
        return torch.from_numpy(scores)

    def sum_over_chosen(self) -> float:
        """The sum of the scores of all that was chosen."""
        total, step = 0.0, max(1, SIMILARITIES_AT_A_TIME // self.items)
        for first in range(0, self.users, step):
            part = self._chosen[first : first + step]
            total += float(part.multiply(part @ self.weights).sum(dtype=np.float64))
        return total


def chosen_matrix(chosen: Choices) -> csr_matrix:
    """Float32 [user rows, known items], 1 where a user chose an item."""
    ones = np.ones(len(chosen), dtype=np.float32)
    shape = len(chosen.starts) - 1, chosen.item_rows - 1
    return csr_matrix((ones, chosen.items - 1, chosen.starts), shape=shape)


def ease(matrix: csr_matrix, penalty: float = EASE_PENALTY) -> SumOfWeights:
    """A linear autoencoder of items without a diagonal, in closed form.

    Steck (2019), "Embarrassingly shallow autoencoders for sparse data": with P the inverse of
    X^T X + penalty I, the weights are B_ij = -P_ij / P_jj, and 0 on the diagonal.

    Args:
        matrix: X, float32 [user rows, items], 1 where a user chose an item.
        penalty: lambda, of the squared weights.
    """
    weights = _dense_gram(matrix)
    weights[np.diag_indices_from(weights)] += penalty
    # A third of the operations of a general inverse; positive definite by the penalty.
    factor, wrong = lapack.spotrf(weights, lower=True, overwrite_a=True)
    assert wrong == 0
    inverse, wrong = lapack.spotri(factor, lower=True, overwrite_c=True)
    assert wrong == 0
    _mirror(inverse)
    inverse /= -inverse.diagonal().copy()
    np.fill_diagonal(inverse, 0)
    return SumOfWeights(matrix, np.ascontiguousarray(inverse))


def _dense_gram(matrix: csr_matrix) -> Floats:
    """X^T X, in the order of Fortran, without a second copy."""
    items = matrix.shape[1]
    by_item = csr_matrix(matrix.T)
    gram = np.empty((items, items), dtype=np.float32, order="F")
    step = max(1, SIMILARITIES_AT_A_TIME // items)
    for first in range(0, items, step):
        # It is symmetric: rows are columns.
        gram[:, first : first + step] = (by_item[first : first + step] @ matrix).toarray().T
    return gram


def _mirror(lower: Floats) -> None:
    """Fill the upper triangle of a symmetric matrix, a block of rows at a time."""
    step = max(1, SIMILARITIES_AT_A_TIME // len(lower))
    for first in range(0, len(lower), step):
        part = slice(first, first + step)
        corner = np.tril(lower[part, part], -1)
        lower[part, part] = corner + corner.T + np.diag(lower[part, part].diagonal())
        lower[part, first + step :] = lower[first + step :, part].T


class Ease(RatingModel):
    """score = sum of the weights of item i with all that user u chose in training.

    Steck (2019), "Embarrassingly shallow autoencoders for sparse data". There is a weight for each
    pair of items, and no embedding; what users chose is kept as buffers, so that a checkpoint alone
    rebuilds the model. Confidence of choices is not looked at.

    Example:
        >>> model = lightning_collab.Ease.for_data(data, regularization=100.0)

    Args:
        config: the `model` section.
        statistics: sizes.

    Attributes:
        weights: float32 [items, items]; column j has what counts for item j; of known items.
        starts: int64 [user rows + 1], where the items of each user begin.
        items: int32 [n], columns of the items that users chose.
    """

    config_class = EaseConfig
    description = "a linear autoencoder of items in closed form (EASE)"
    trained_by = "implicit"
    has_biases = False

    config: EaseConfig
    starts: Tensor
    items: Tensor

    def __init__(self, config: EaseConfig, statistics: DatasetStatistics) -> None:
        super().__init__(config)
        known = statistics.item_rows - 1
        self.weights = nn.Parameter(torch.zeros(known, known), requires_grad=False)
        starts = torch.zeros(statistics.user_rows + 1, dtype=torch.int64)
        self.register_buffer("starts", starts)
        self.register_buffer("items", torch.zeros(0, dtype=torch.int32))
        # How much users chose is known from the checkpoint alone.
        self.register_load_state_dict_pre_hook(_as_many_as_saved)  # type: ignore[no-untyped-call]

    def solve(self, chosen: Choices) -> float:
        """Find the weights of what users chose.

        Args:
            chosen: of the model's rows.

        Returns:
            The sum over users and what they chose of the score that comes of it: <X'X, B>.
        """
        matrix = chosen_matrix(chosen)
        found = ease(matrix, self.config.regularization)
        self.weights.data.copy_(torch.from_numpy(found.weights))
        device = self.weights.device
        self.starts = torch.from_numpy(chosen.starts.copy()).to(device)
        self.items = torch.from_numpy(chosen.items - np.int32(1)).to(device)
        return found.sum_over_chosen()

    def lookup_tables(self) -> dict[str, dict[str, EmbeddingTable]]:
        """None: there is no embedding."""
        return {}

    def side_parameters(self, group: str, side: str) -> list[nn.Parameter]:
        """None: no group is made of tables."""
        return []

    def rate(self, rows: Rows, batch: RatingBatch, effects: Tensor | None = None) -> Tensor:
        """Scores, float [B]; those of an unknown user or item are 0."""
        users, place = torch.unique(batch.users, return_inverse=True)
        scores = self.item_scores().of_users(users)
        known = torch.nn.functional.pad(scores, (1, 0))
        return known[place, batch.items.long()]

    def item_scores(self) -> "EaseScores":
        """Sums of weights."""
        return EaseScores(self)


def _as_many_as_saved(model: Any, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    saved = state.get(f"{prefix}items")
    if saved is not None:
        model.items = model.items.new_zeros(saved.shape)


class EaseScores(ItemScores):
    """Sums of the weights of what a user chose, taken on the CPU.

    Args:
        model: with its weights.
    """

    def __init__(self, model: Ease) -> None:
        super().__init__({}, model.rate_rows)
        self._weights = model.weights.detach().cpu()
        items, starts = model.items.cpu().numpy(), model.starts.cpu().numpy()
        ones = np.ones(len(items), dtype=np.float32)
        shape = len(starts) - 1, len(self._weights)
        chosen = csr_matrix((ones, items, starts), shape=shape)
        self._sums = SumOfWeights(chosen, self._weights.numpy())

    @property
    def items(self) -> int:
        """How many items are scored."""
        return len(self._weights)

    def of_users(self, users: slice | Tensor, out: Tensor | None = None) -> Tensor:
        """Scores of b users for every known item, float32 [b, items]."""
        if isinstance(users, slice):
            users = rows_of(torch.arange(self._sums.users), users)
        return self._sums.of_users(users.cpu()).to(users.device)

    def of_rows(self, rows: UserRows, out: Tensor | None = None) -> Tensor:
        """Scores of users of whom `chosen` has a 1 for each item that they chose."""
        return torch.mm(rows["chosen"], self._weights, out=out)

    def ratings(self, scores: Tensor) -> Tensor:
        """The same."""
        return scores

    def alike(self, items: Tensor, others: Tensor) -> Tensor:
        """The weights of some items for others, float32 [n, m]: how much they speak for them."""
        return self._weights[others - 1][:, items - 1].T

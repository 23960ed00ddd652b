"""Scores that are sums of weights between items: those of what a user chose with each other one."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_matrix
from torch import Tensor

from lightning_collab.data.choices import Choices

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

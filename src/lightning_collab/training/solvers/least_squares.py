"""Alternating ridge regression of user and item factors and biases, and EASE in one step.

Zhou, Wilkinson, Schreiber and Pan (2008), "Large-scale parallel collaborative filtering for the
Netflix prize" (the weighted penalty); Koren, Bell and Volinsky (2009), "Matrix factorization
techniques for recommender systems" (biases).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.ranking_batches import Choices
from lightning_collab.models.ease import Ease
from lightning_collab.models.factors import LeastSquaresFactors

# Numbers of the padded design that are held at a time: 64 MiB in float32.
CHUNK_NUMBERS = 1 << 24


class Side(NamedTuple):
    """The ratings as one side sees them: those of each of its rows side by side.

    Attributes:
        other: int64 [n], the other side's row of each rating, by own row.
        ratings: float [n], less the mean, in the same order.
        starts: int64 [rows], where those of each row begin.
        counts: int64 [rows], ratings of each row.
    """

    other: Tensor
    ratings: Tensor
    starts: Tensor
    counts: Tensor


class AlternatingLeastSquares(torch.optim.Optimizer):
    """Solves all users for fixed items, then all items for fixed users, at each step.

    For every user u the minimum over p_u and b_u of

        sum_i (r_ui - mean - b_i - b_u - <p_u, q_i>)^2 + penalty_u |p_u|^2 + bias_penalty_u b_u^2

    is the solution of a small linear system; the systems of all users are built by sums over
    their ratings and solved at once by a batched Cholesky factorization. The penalties are those
    of the config times n_u ** weighting, where n_u is the user's number of ratings. Likewise for
    items.

    Args:
        model: whose tables are solved for.
    """

    def __init__(self, model: LeastSquaresFactors) -> None:
        super().__init__(model.parameters(), {"lr": 1.0})
        self._model = model
        self._sides: tuple[Side, Side] | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One sweep.

        Args:
            closure: gives the batch of all training ratings, the same at each step.
        """
        assert closure is not None
        batch: RatingBatch = closure()
        model = self._model
        if self._sides is None:
            ratings = batch.ratings - model.output.mean_rating
            users, items = batch.users.long(), batch.items.long()
            self._sides = (
                _side(users, items, ratings, len(model.user_bias.weight)),
                _side(items, users, ratings, len(model.item_bias.weight)),
            )
        of_users, of_items = self._sides
        self._solve(of_users, "users", "items")
        self._solve(of_items, "items", "users")

    def _solve(self, side: Side, own: str, other: str) -> None:
        config, tables = self._model.config, self._model.lookup_tables()
        factors, biases = tables["embeddings"], tables["biases"]
        ones = torch.ones_like(biases[other].weight)
        design = torch.cat([factors[other].weight, ones], dim=1)
        target = side.ratings - biases[other].weight[side.other, 0]
        gram, right = normal_equations(side, design, target)
        penalty = torch.full((design.shape[1],), config.penalty, dtype=gram.dtype)
        penalty[-1] = config.bias_penalty
        weight = side.counts.clamp(min=1).to(gram.dtype) ** config.weighting
        gram.diagonal(dim1=1, dim2=2).add_(weight[:, None] * penalty.to(gram.device))
        lower, _ = torch.linalg.cholesky_ex(gram)
        solution = torch.cholesky_solve(right[:, :, None], lower)[:, :, 0]
        factors[own].weight.copy_(solution[:, :-1])
        biases[own].weight.copy_(solution[:, -1:])


def normal_equations(side: Side, design: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """X'X and X'y of each row's regression, without a loop over rows.

    Rows with about the same number of ratings, up to the next power of two, are padded to the same
    length and multiplied together.

    Args:
        side: whose rows they are.
        design: float [other rows, k], what each row of the other side contributes to X.
        target: float [n], y.

    Returns:
        float [rows, k, k] and float [rows, k].
    """
    rows, width = len(side.counts), design.shape[1]
    gram = design.new_zeros(rows, width, width)
    right = design.new_zeros(rows, width)
    length = 1
    while length < 2 * int(side.counts.max()):
        alike = ((side.counts > length // 2) & (side.counts <= length)).nonzero()[:, 0]
        for some in torch.split(alike, max(1, CHUNK_NUMBERS // (length * width))):
            place = torch.arange(length, device=some.device)
            real = place < side.counts[some, None]
            ratings = (side.starts[some, None] + place).where(real, 0)
            x = design[side.other[ratings]] * real[:, :, None]
            gram[some] = x.mT @ x
            right[some] = (x.mT @ target[ratings][:, :, None])[:, :, 0]
        length *= 2
    return gram, right


def _side(own: Tensor, other: Tensor, ratings: Tensor, rows: int) -> Side:
    # By the other side within a row, so that the sums do not depend on the order of the batch.
    order = (own * (other.max() + 1) + other).argsort(stable=True)
    counts = torch.bincount(own, minlength=rows)
    return Side(other[order], ratings[order], counts.cumsum(0) - counts, counts)


class ClosedForm(torch.optim.Optimizer):
    """Finds the weights of a model at each step, which are the same ones.

    Args:
        model: EASE; its weights are found on the CPU, wherever it is.
        chosen: what users chose, of the model's rows.
    """

    def __init__(self, model: Ease, chosen: Choices) -> None:
        super().__init__(model.parameters(), {"lr": 1.0})
        self._model, self._chosen = model, chosen
        # Of the last step: squared errors and penalty, over the pairs of users and items.
        self.loss = 0.0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Find the weights; `loss` then says what is left of the objective.

        With B the weights, G = X'X and its diagonal d, |X - XB|^2 + lambda |B|^2 is
        sum(d) - 2 <G, B> + <G B, B> + lambda |B|^2; at the minimum, where B is zero on its diagonal
        and (G + lambda) B - G is zero everywhere else, it is sum(d) - <G, B>.
        """
        gram = self._model.solve(self._chosen)
        entries = max(1, (self._chosen.user_counts > 0).sum() * len(self._model.weights))
        self.loss = (len(self._chosen) - gram) / entries

"""Implicit alternating least squares: what was chosen is 1, everything else 0 with little weight.

Hu, Koren and Volinsky (2008), "Collaborative filtering for implicit feedback datasets"; the
regularization is that of Rendle, Krichene, Zhang and Koren (2022), "Revisiting the performance of
iALS on item recommendation benchmarks", equations 1 to 4; the conjugate gradients are those of
Takács, Pilászy and Tikk (2011), "Applications of the conjugate gradient method for implicit
feedback collaborative filtering".
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_collab.data.ranking_batches import Choices
from lightning_collab.kernel_cache import KERNEL, cached_njit
from lightning_collab.models.factors import ImplicitFactors

Array = NDArray[Any]

# Steps of conjugate gradients for each row, from where the last sweep left it.
CG_STEPS = 3


class ImplicitLeastSquares(torch.optim.Optimizer):
    """Solves all users for fixed items, then all items for fixed users, at each step.

    The objective, with w_ui the confidence of each of the chosen pairs S and a the weight of
    everything that was not seen, is

        sum_S w_ui (<p_u, q_i> - 1)^2 + a sum_all <p_u, q_i>^2
            + regularization (sum_u (n_u + a items)^nu |p_u|^2 + sum_i (n_i + a users)^nu |q_i|^2)

    Each row is the solution of a small linear system, which some steps of conjugate gradients from
    its last value come near enough to; none of them makes the objective larger.

    Args:
        model: whose tables are solved for, on the CPU wherever they are.
        chosen: the pairs S, of the model's rows.
        cg_steps: of conjugate gradients for each row.
    """

    def __init__(
        self, model: ImplicitFactors, chosen: Choices, *, cg_steps: int = CG_STEPS
    ) -> None:
        super().__init__(model.parameters(), {"lr": 1.0})
        self._model, self._cg_steps = model, cg_steps
        of_items = Choices.of(
            chosen.items,
            chosen.users,
            user_rows=chosen.item_rows,
            item_rows=len(chosen.starts) - 1,
            weights=chosen.weights,
        )
        self._sides = (chosen, of_items)
        self._pairs = len(chosen)
        # Of the last sweep, over the chosen pairs.
        self.loss = 0.0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One sweep; `loss` then says where it ended."""
        tables = self._model.lookup_tables()["embeddings"]
        weights = [tables[side].weight.detach() for side in ("users", "items")]
        # Solved on the CPU; there these are the tables themselves, not copies.
        users, items = (weight.cpu().numpy() for weight in weights)
        config = self._model.config
        solve(self._sides[0], users, items, config, self._cg_steps)
        solve(self._sides[1], items, users, config, self._cg_steps)
        for weight, solved in zip(weights, (users, items), strict=True):
            if weight.device.type != "cpu":
                weight.copy_(torch.from_numpy(solved))
        self.loss = objective(self._sides, users, items, config) / max(self._pairs, 1)


def penalties(side: Choices, others: int, config: Any) -> NDArray[np.float64]:
    """What the squared length of each row is multiplied with, float64 [rows].

    Args:
        side: of these rows.
        others: known rows of the other side.
        config: the `model` section.
    """
    counts = side.user_counts + config.unobserved_weight * others
    found: NDArray[np.float64] = config.regularization * counts**config.frequency_scaling
    return found


def solve(side: Choices, own: Array, other: Array, config: Any, cg_steps: int) -> None:
    """Move the rows of one side to where the objective is least, the other side being held.

    Args:
        side: what each row chose.
        own: float [rows, factors], changed in place.
        other: float [other rows, factors]; row 0, of unknown ids, has no part in it.
        config: the `model` section.
        cg_steps: for each row.
    """
    known = torch.from_numpy(other[1:])
    gram = (config.unobserved_weight * (known.T @ known)).numpy()
    weights = side.weights
    if weights is None:
        weights = np.ones(len(side.items), dtype=np.float32)
    ridge = penalties(side, len(other) - 1, config).astype(own.dtype)
    _solve_rows(side.starts, side.items, weights, own, other, gram, ridge, cg_steps)


def objective(sides: tuple[Choices, Choices], users: Array, items: Array, config: Any) -> float:
    """The value of the objective.

    Args:
        sides: what users chose, and by whom items were chosen.
        users: float [rows, factors].
        items: float [rows, factors].
        config: the `model` section.
    """
    of_users, of_items = sides
    weights = of_users.weights
    if weights is None:
        weights = np.ones(len(of_users.items), dtype=np.float32)
    total: float = _errors(of_users.starts, of_users.items, weights, users, items)
    grams = [each[1:].astype(np.float64).T @ each[1:] for each in (users, items)]
    total += config.unobserved_weight * float((grams[0] * grams[1]).sum())
    for side, own, other in ((of_users, users, items), (of_items, items, users)):
        squares = (own[1:].astype(np.float64) ** 2).sum(1)
        total += float(penalties(side, len(other) - 1, config)[1:] @ squares)
    return total


@cached_njit(**KERNEL)
def _errors(starts, others, weights, own, other):  # type: ignore[no-untyped-def]
    total = 0.0
    for row in range(1, len(starts) - 1):
        for n in range(starts[row], starts[row + 1]):
            score = own.dtype.type(0)
            for f in range(own.shape[1]):
                score += own[row, f] * other[others[n], f]
            total += weights[n] * (score - 1) ** 2
    return total


@cached_njit(**KERNEL)
def _apply(x, others, weights, other, gram, ridge, result):  # type: ignore[no-untyped-def]
    """(gram + ridge + sum of w q q') x into `result`."""
    width = len(x)
    for f in range(width):
        result[f] = ridge * x[f]
    for g in range(width):
        scale = x[g]
        for f in range(width):
            result[f] += scale * gram[g, f]
    for n in range(len(others)):
        row = others[n]
        product = x.dtype.type(0)
        for f in range(width):
            product += other[row, f] * x[f]
        product *= weights[n]
        for f in range(width):
            result[f] += product * other[row, f]


@cached_njit(**KERNEL)
def _solve_rows(starts, items, weights, own, other, gram, ridge, cg_steps):  # type: ignore[no-untyped-def]
    """Conjugate gradients on (gram + ridge_r + sum of w q q') x = sum of w q for each row r."""
    width = own.shape[1]
    residual, direction = np.empty(width, own.dtype), np.empty(width, own.dtype)
    applied = np.empty(width, own.dtype)
    for row in range(1, len(starts) - 1):
        mine = slice(starts[row], starts[row + 1])
        others, confidences = items[mine], weights[mine].astype(own.dtype)
        x = own[row]
        if len(others) == 0:
            x[:] = 0
            continue
        _apply(x, others, confidences, other, gram, ridge[row], applied)
        for f in range(width):
            residual[f] = -applied[f]
        for n in range(len(others)):
            for f in range(width):
                residual[f] += confidences[n] * other[others[n], f]
        length = own.dtype.type(0)
        for f in range(width):
            direction[f] = residual[f]
            length += residual[f] * residual[f]
        for _ in range(cg_steps):
            if length < 1e-20:
                break
            _apply(direction, others, confidences, other, gram, ridge[row], applied)
            curvature = own.dtype.type(0)
            for f in range(width):
                curvature += direction[f] * applied[f]
            step = length / curvature
            after = own.dtype.type(0)
            for f in range(width):
                x[f] += step * direction[f]
                residual[f] -= step * applied[f]
                after += residual[f] * residual[f]
            ratio = after / length
            for f in range(width):
                direction[f] = residual[f] + ratio * direction[f]
            length = after

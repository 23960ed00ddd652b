"""Adam whose rows are not updated while they have no gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class RowAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015), in groups with `lazy` for each row of a table by itself.

    A row that has no gradient keeps its weights, its moments and its number of steps, so that a
    user who comes once an epoch takes the steps of its own batches alone, with the bias
    corrections of so many. torch's SparseAdam counts the steps of the table instead. Groups
    without `lazy` take the steps of `torch.optim.Adam`.

    Args:
        groups: each with `params`, `lr` and perhaps `betas` and `lazy`.
        betas: of groups that have none of their own.
        eps: added to the denominator.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, {"betas": betas, "eps": eps, "lazy": False})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of another one; the counts of steps follow their weights."""
        super().load_state_dict(state_dict)
        # torch leaves them on the CPU, where its own Adam has them.
        for weight, state in self.state.items():
            state["step"] = state["step"].to(weight.device)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step on all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            shape = (len(weight), 1) if group["lazy"] else ()
            state["step"] = torch.zeros(shape, dtype=torch.float32, device=weight.device)
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        parts = (weight, state["exp_avg"], state["exp_avg_sq"], state["step"])
        if not group["lazy"]:
            _take_step(parts, gradient, group)
            return
        rows = gradient.ne(0).any(1).nonzero().squeeze(1)
        moved = [each[rows] for each in parts]
        _take_step(moved, gradient[rows], group)
        for whole, part in zip(parts, moved, strict=True):
            whole[rows] = part


def _take_step(parts: Sequence[Tensor], gradient: Tensor, group: dict[str, Any]) -> None:
    """Algorithm 1 of the paper, in place on weights, both moments and the number of steps."""
    weight, first, second, steps = parts
    beta1, beta2 = group["betas"]
    steps += 1
    first.lerp_(gradient, 1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    # Powers of many steps need more digits than a weight may have.
    counts = steps.double()
    root = (1 - beta2**counts).sqrt().to(weight.dtype)
    rate = (group["lr"] / (1 - beta1**counts)).to(weight.dtype)
    weight -= rate * first / (second.sqrt() / root + group["eps"])

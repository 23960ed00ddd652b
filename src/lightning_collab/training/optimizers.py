"""Optimisers as the config describes them."""

from collections.abc import Callable
from typing import Any, overload

import torch

from lightning_collab.config.optimizer import AdamConfig, Optimizer, SGDConfig


class DecoupledSGD(torch.optim.SGD):
    """SGD whose weight decay shrinks the weights instead of bending the gradient.

    Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 1:
    w <- w - lr * weight_decay * w before the gradient step, so that momentum never sees the decay.
    """

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step on all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        decays = [group["weight_decay"] for group in self.param_groups]
        for group, decay in zip(self.param_groups, decays, strict=True):
            for parameter in group["params"]:
                if decay and parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * decay)
            group["weight_decay"] = 0.0
        super().step()
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        return loss


def build_optimizer(groups: list[dict[str, Any]], config: Optimizer) -> torch.optim.Optimizer:
    """The optimiser that a config asks for.

    Where the penalty is on the rows that a batch touches, it is part of the loss, and the
    optimiser itself has no weight decay.

    Args:
        groups: from `parameter_groups`.
        config: the `optimizer` section.
    """
    if config.decay == "touched_rows":
        groups = [{**group, "weight_decay": 0.0} for group in groups]
    decoupled = config.decay == "decoupled"
    match config:
        case SGDConfig():
            kind = DecoupledSGD if decoupled else torch.optim.SGD
            return kind(groups, momentum=config.momentum, nesterov=config.nesterov)
        case AdamConfig():
            betas = (config.beta1, config.beta2)
            adam = torch.optim.AdamW if decoupled else torch.optim.Adam
            return adam(groups, betas=betas, eps=config.eps)

"""Optimizers as the config describes them, and an Adam of rows that have a gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_collab.config.optimizer import (
    AdamConfig,
    Optimizer,
    OptimizerConfig,
    SGDConfig,
    SideConfig,
    TableGroupConfig,
    TorchOptimizerConfig,
)
from lightning_collab.errors import ConfigError
from lightning_collab.models import RatingModel
from lightning_collab.training.torch_optimizers import build_torch_optimizer


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
        moves = gradient.ne(0).any(1)
        if weight.device.type != "cpu":
            # To learn which rows these are, the host would wait for the device.
            moved = [each.clone() for each in parts]
            _take_step(moved, gradient, group)
            for whole, part in zip(parts, moved, strict=True):
                torch.where(moves[:, None], part, whole, out=whole)
            return
        rows = moves.nonzero().squeeze(1)
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


def parameter_groups(model: RatingModel, config: OptimizerConfig) -> list[dict[str, Any]]:
    """The groups to hand to a torch optimizer, in the model's order.

    A group whose `lr_scale` is 0 is frozen: its parameters get no gradient, so that neither
    momentum nor weight decay moves them.

    Args:
        model: its `parameter_groups` must hold each of its parameters exactly once.
        config: the `optimizer` section.

    Returns:
        For each group `params`, `name`, `lr`, `initial_lr` (which a schedule multiplies) and
        `weight_decay`.

    Raises:
        ConfigError: a parameter that is in no group or in two.
    """
    groups = model.parameter_groups()
    _check_each_once(model, groups)
    result = []
    for name, parameters in groups.items():
        own = config.groups.named(name)
        decay = config.weight_decay if own.weight_decay is None else own.weight_decay
        lr = config.lr * own.lr_scale
        sides = own.sides if isinstance(own, TableGroupConfig) else {}
        rest = parameters
        for side, values in sides.items():
            of_side = model.side_parameters(name, side)
            rest = [each for each in rest if all(each is not one for one in of_side)]
            result.append(_side_group(f"{name}.{side}", of_side, values, lr, decay, config))
        if rest:
            result.append(_group(name, rest, lr, decay))
    return result


def _group(name: str, parameters: list[Any], lr: float, decay: float) -> dict[str, Any]:
    for parameter in parameters:
        parameter.requires_grad_(lr > 0)
    rates = {"lr": lr, "initial_lr": lr}
    return {"params": parameters, "name": name, **rates, "weight_decay": decay}


def _side_group(
    name: str,
    parameters: list[Any],
    side: SideConfig,
    lr: float,
    decay: float,
    config: OptimizerConfig,
) -> dict[str, Any]:
    """The tables of users or of items of a group, with what differs for them."""
    decay = decay if side.weight_decay is None else side.weight_decay
    group = _group(name, parameters, lr * side.lr_scale, decay)
    if isinstance(config, AdamConfig):
        beta1 = config.beta1 if side.beta1 is None else side.beta1
        beta2 = config.beta2 if side.beta2 is None else side.beta2
        group |= {"betas": (beta1, beta2), "lazy": side.lazy}
    return group


def _check_each_once(model: RatingModel, groups: dict[str, list[Any]]) -> None:
    homes: dict[int, list[str]] = {}
    for group, parameters in groups.items():
        for parameter in parameters:
            homes.setdefault(id(parameter), []).append(group)
    for name, parameter in model.named_parameters():
        found = homes.get(id(parameter), [])
        if len(found) != 1:
            where = f"in the groups {', '.join(found)}" if found else "in no group"
            raise ConfigError(
                f"{type(model).__name__}.parameter_groups: parameter {name} is {where}; "
                "each must be in exactly one"
            )


class DecoupledSGD(torch.optim.SGD):
    """SGD whose weight decay shrinks the weights instead of bending the gradient.

    Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 1:
    w <- w - lr * weight_decay * w before the gradient step, so that momentum never sees the decay.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
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


class _Whole:
    """An optimizer whose `step(closure)` leaves the whole step to the closure."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step on the gradients that there are, or what the closure does in its place."""
        return super().step() if closure is None else closure()  # type: ignore[misc]


class GraphedSGD(_Whole, torch.optim.SGD):
    """Of `torch.optim.SGD`."""

    name = "SGD"


class GraphedDecoupledSGD(_Whole, DecoupledSGD):
    """Of `DecoupledSGD`."""

    name = "DecoupledSGD"


class GraphedAdam(_Whole, torch.optim.Adam):
    """Of `torch.optim.Adam`."""

    name = "Adam"


class GraphedAdamW(_Whole, torch.optim.AdamW):
    """Of `torch.optim.AdamW`."""

    name = "AdamW"


GRAPHED: dict[type[torch.optim.Optimizer], Any] = {
    torch.optim.SGD: GraphedSGD,
    DecoupledSGD: GraphedDecoupledSGD,
    torch.optim.Adam: GraphedAdam,
    torch.optim.AdamW: GraphedAdamW,
}


def build_optimizer(
    groups: list[dict[str, Any]], config: Optimizer, *, fused: bool = False, graphed: bool = False
) -> torch.optim.Optimizer:
    """The optimizer that a config asks for.

    Where the penalty is on the rows that a batch touches, it is part of the loss, and the
    optimizer itself has no weight decay.

    Args:
        groups: from `parameter_groups`.
        config: the `optimizer` section.
        fused: Adam in one kernel a group, where the parameters are on a GPU.
        graphed: SGD or Adam likewise, whose counts are on the device, and whose `step(closure)`
            leaves the whole step to the closure.

    Raises:
        ConfigError: torch refuses what `optimizer=torch` asks for.
    """
    if config.decay == "per_row":
        groups = [{**group, "weight_decay": 0.0} for group in groups]
    decoupled = config.decay == "decoupled"
    match config:
        case SGDConfig():
            kind = DecoupledSGD if decoupled else torch.optim.SGD
            momentum: dict[str, Any] = {"momentum": config.momentum, "nesterov": config.nesterov}
            if graphed:
                return GRAPHED[kind](groups, **momentum, fused=True)  # type: ignore[no-any-return]
            return kind(groups, **momentum)
        case AdamConfig():
            betas = (config.beta1, config.beta2)
            if any(group.get("lazy") for group in groups):
                return RowAdam(groups, betas=betas, eps=config.eps)
            adam = torch.optim.AdamW if decoupled else torch.optim.Adam
            if graphed:
                one_kernel = {"fused": True, "capturable": True}
                return GRAPHED[adam](groups, betas=betas, eps=config.eps, **one_kernel)  # type: ignore[no-any-return]
            return adam(groups, betas=betas, eps=config.eps, fused=fused or None)
        case TorchOptimizerConfig():
            return build_torch_optimizer(groups, config)

"""The optimiser's parameter groups: one for each layer group of the model."""

from typing import Any

from lightning_collab.config.optimizer import OptimizerConfig
from lightning_collab.errors import ConfigError
from lightning_collab.models import RatingModel


def parameter_groups(model: RatingModel, config: OptimizerConfig) -> list[dict[str, Any]]:
    """The groups to hand to a torch optimiser, in the model's order.

    A group whose `lr_scale` is 0 is frozen: its parameters get no gradient, so that neither
    momentum nor weight decay moves them.

    Args:
        model: its `parameter_groups` must hold each of its parameters exactly once.
        config: the `optimizer` section.

    Returns:
        For each group `params`, `name`, `lr` and `weight_decay`.

    Raises:
        ConfigError: a parameter that is in no group or in two.
    """
    groups = model.parameter_groups()
    _check_each_once(model, groups)
    result = []
    for name, parameters in groups.items():
        own = config.groups.named(name)
        for parameter in parameters:
            parameter.requires_grad_(own.lr_scale > 0)
        decay = config.weight_decay if own.weight_decay is None else own.weight_decay
        result.append(
            {
                "params": parameters,
                "name": name,
                "lr": config.lr * own.lr_scale,
                "weight_decay": decay,
            }
        )
    return result


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

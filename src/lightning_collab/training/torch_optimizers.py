"""Any optimizer of torch.optim by the name of its class: `optimizer=torch`."""

import inspect
from difflib import get_close_matches
from typing import Any

import torch

from lightning_collab.config.optimizer import OWN_KEYS, TorchOptimizerConfig
from lightning_collab.config.section import invalid, suggestion
from lightning_collab.errors import ConfigError

# Classes that no step here can be taken with, and why.
REFUSED = {
    "Optimizer": "it is what all others are made from, and takes no steps",
    "LBFGS": "it evaluates the loss several times a step, but a step here sees its batch once",
    "SparseAdam": "it takes sparse gradients alone, and tables have dense ones; for large tables "
    "set optimizer=sgd optimizer.momentum=0 optimizer.decay=per_row optimizer.sparse=true",
}
# Classes that shrink weights separately from the gradient, whatever they are asked.
DECOUPLED = ("AdamW", "Adafactor", "Muon")
# The setting by which others do.
SWITCH = "decoupled_weight_decay"
# Classes whose steps torch cannot take on tables that are split over ranks.
NOT_SHARDED = ("Adafactor", "Muon", "Rprop")


def build_torch_optimizer(
    groups: list[dict[str, Any]], config: TorchOptimizerConfig
) -> torch.optim.Optimizer:
    """An optimizer of torch.optim over groups that have their own rates and weight decays.

    Args:
        groups: each with `params`, `name`, `lr` and `weight_decay`.
        config: the `optimizer` section.

    Raises:
        ConfigError: there is no such class, or it does not take the settings or the decay.
    """
    kind = _optimizer_class(config.class_name)
    settings = {key: _with_tuples(value) for key, value in config.settings.items()}
    takes = [each for each in inspect.signature(kind).parameters if each not in OWN_KEYS]
    for key in settings:
        if key not in takes:
            close = get_close_matches(key, takes, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise invalid(
                f"optimizer.settings.{key}: torch.optim.{config.class_name} takes no {key}, but "
                f"{', '.join(takes)}{meant}"
            )
    if _decouples_on_request(kind, config):
        settings[SWITCH] = True
    try:
        return kind(groups, lr=config.lr, **settings)  # type: ignore[call-arg]
    except Exception as error:  # what a class makes of a wrong value has no end
        raise _refused(config, error) from error


def check_torch_optimizer(
    config: TorchOptimizerConfig, group_names: list[str], *, sharded: bool = False
) -> None:
    """Take a step on parameters of no importance, so that what torch refuses is refused early.

    Args:
        config: the `optimizer` section.
        group_names: of the model's groups of parameters.
        sharded: whether the model's tables are split over ranks.

    Raises:
        ConfigError: as `build_torch_optimizer`, and where the class cannot take a step here.
    """
    if sharded and config.class_name in NOT_SHARDED:
        raise invalid(
            f"optimizer.class_name: torch.optim.{config.class_name} takes no steps on tables that "
            "are split over ranks; set model.sharding=none, or another class"
        )
    groups = []
    for name in group_names:
        shapes = [(2, 2)] if name in ("embeddings", "biases") else [(2, 2), (2,)]
        parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        decay = 0.0 if config.decay == "per_row" else config.weight_decay
        groups.append({"params": parameters, "name": name, "weight_decay": decay})
    optimizer = build_torch_optimizer(groups, config)
    try:
        optimizer.step()
    except Exception as error:
        raise _refused(config, error) from error


def _optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    if name in REFUSED:
        raise invalid(f"optimizer.class_name: torch.optim.{name} is not supported: {REFUSED[name]}")
    known = {
        each: kind
        for each, kind in vars(torch.optim).items()
        if isinstance(kind, type)
        and issubclass(kind, torch.optim.Optimizer)
        and not each.startswith("_")
        and each not in REFUSED
    }
    if name not in known:
        # Somebody who types another case, or the whole path, means the class all the same.
        last = name.rpartition(".")[2].casefold()
        meant = next((each for each in known if each.casefold() == last), name)
        raise invalid(
            f"optimizer.class_name: torch.optim has no optimizer {name!r}; "
            f"{suggestion(meant, sorted(known))}"
        )
    return known[name]


def _decouples_on_request(kind: type[torch.optim.Optimizer], config: TorchOptimizerConfig) -> bool:
    """Whether the class has to be told to decouple its decay.

    Raises:
        ConfigError: it has another form of decay than the one that is asked for, or none.
    """
    if not config.decays or config.decay == "per_row":
        return False
    name = f"torch.optim.{config.class_name}"
    parameters = inspect.signature(kind).parameters
    wrong = None
    if "weight_decay" not in parameters:
        wrong, other = f"{name} takes no weight decay", None
    elif config.decay == "gradient" and config.class_name in DECOUPLED:
        wrong, other = f"{name} shrinks weights apart from the gradient", "decoupled"
    elif config.decay == "decoupled" and config.class_name not in DECOUPLED:
        if SWITCH in parameters:
            return True
        wrong, other = f"{name} adds weight decay to the gradient", "gradient"
    if wrong is not None:
        forms = " or ".join(f"optimizer.decay={each}" for each in (other, "per_row") if each)
        raise invalid(
            f"optimizer.decay={config.decay}: {wrong}; set {forms}, or no weight decay "
            "(optimizer.weight_decay=0)"
        )
    return False


def _refused(config: TorchOptimizerConfig, error: Exception) -> ConfigError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    given = ", ".join(f"{key}: {value}" for key, value in config.settings.items())
    key = f"optimizer.settings={{{given}}}" if given else "optimizer.class_name"
    return invalid(f"{key}: torch.optim.{config.class_name} refuses: {lines[0]}")


def _with_tuples(value: Any) -> Any:
    """Lists, the only form in which a config has several values, as torch's classes have them."""
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value

"""Which engine can take the optimizer steps of a run, as far as that is known before it starts."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from lightning_collab.config.model import LossConfig, ModelConfig
from lightning_collab.config.optimizer import (
    AdamConfig,
    OptimizerConfig,
    SGDConfig,
    TorchOptimizerConfig,
)
from lightning_collab.config.section import Section

Engine = Literal["eager", "compiled", "graphs", "fused"]


class TrainingConfig(Section):
    """Which engine takes the optimizer steps."""

    # auto: the fastest that can do what the config asks.
    engine: Literal["auto", "eager", "compiled", "graphs", "fused"] = "auto"
    # Whether momentum and decay move rows without a rating in the batch; lazy: not.
    row_updates: Literal["dense", "lazy"] = "dense"
    # Threads that take plain SGD steps on single ratings at once, in an order of their own.
    sgd_threads: Annotated[int, Field(ge=1, le=127)] = 1


class StepNeeds(NamedTuple):
    """What the arguments of a Trainer ask of whoever takes its steps.

    Attributes:
        autograd: why Lightning itself must see each gradient; None: it need not.
        single: why it must see each step, though not its gradient; None: it need not.
    """

    autograd: str | None
    single: str | None


# Arguments of Lightning's Trainer about each gradient, and about each step: what is as by default.
GRADIENTS: dict[str, tuple[Any, ...]] = {
    "accumulate_grad_batches": (1,),
    "detect_anomaly": (False,),
    "gradient_clip_algorithm": ("norm",),
}
STEPS: dict[str, tuple[Any, ...]] = {
    "fast_dev_run": (False,),
    "max_steps": (-1,),
    "min_steps": (),
    "limit_train_batches": (1.0,),
    "overfit_batches": (0,),
    "val_check_interval": (1.0,),
}
FUSED_PRECISIONS = ("32-true", "64-true")


def step_needs(arguments: Mapping[str, Any]) -> StepNeeds:
    """What some arguments of a Trainer ask for.

    Args:
        arguments: by their names; one that is None or absent is as by default.
    """
    autograd = _asking(arguments, GRADIENTS)
    single = _asking(arguments, STEPS)
    precision = arguments.get("precision") or "32-true"
    about_gradients = _reason(
        autograd, arguments, "works on gradients, which only autograd computes"
    )
    if precision not in FUSED_PRECISIONS:
        about_gradients = f"there are no fused kernels for trainer.precision={precision}"
    return StepNeeds(about_gradients, _reason(single, arguments, "counts single steps"))


def _asking(arguments: Mapping[str, Any], harmless: Mapping[str, tuple[Any, ...]]) -> list[str]:
    return [
        key
        for key, values in harmless.items()
        if (value := arguments.get(key)) is not None
        # 1 is one batch, and 1.0 all of them.
        and not any(value == each and type(value) is type(each) for each in values)
        and not (value == 0 and 0 in values)
    ]


def _reason(keys: list[str], arguments: Mapping[str, Any], what: str) -> str | None:
    return f"trainer.{keys[0]}={arguments[keys[0]]} {what}" if keys else None


def unsupported_parts(
    engine: Engine,
    *,
    model: ModelConfig,
    loss: LossConfig,
    optimizer: OptimizerConfig,
    training: TrainingConfig,
    with_features: bool,
    id_dropout: float = 0.0,
) -> str | None:
    """Why an engine cannot train these parts, whatever trainer there is.

    Args:
        engine: which.
        model: trained by gradient descent.
        loss: of the training.
        optimizer: of the training.
        training: the `training` section.
        with_features: whether the model is told more than ids.
        id_dropout: share of the items whose rows are left out in a step.

    Returns:
        The reason, naming the key, or None.
    """
    lazy = training.row_updates == "lazy"
    threads = training.sgd_threads
    if engine != "fused":
        if threads > 1:
            return f"{engine} steps run one after another, not with training.sgd_threads={threads}"
        if lazy:
            return f"{engine} steps update every row, which training.row_updates=lazy forbids"
        if engine == "compiled" and with_features:
            return "features are mapped by scipy, which torch.compile cannot see into"
        if engine == "graphs":
            return _unsupported_in_graphs(model, loss, optimizer, with_features or bool(id_dropout))
        return None
    if id_dropout:
        return f"there are no fused kernels for features.id_dropout={id_dropout:g}"
    if not model.fused:
        return f"there are no fused kernels for model={model.name}"
    if model.fused_ids_only and (with_features or threads > 1):
        what = "features" if with_features else f"training.sgd_threads={threads}"
        return f"there are no fused kernels for {what} with model={model.name}"
    if not loss.fused:
        return f"there are no fused kernels for loss={loss.name}"
    if isinstance(optimizer, TorchOptimizerConfig):
        return f"there are no fused kernels for torch.optim.{optimizer.class_name}"
    if loss.metrics == "rankings":
        return _unsupported_to_rank(model, loss, optimizer, training, with_features=with_features)
    for key in optimizer.groups.sides:
        return f"there are no fused kernels for optimizer.groups.{key} with loss={loss.name}"
    if optimizer.frequency_power != 1:
        power = f"optimizer.frequency_power={optimizer.frequency_power:g}"
        return f"there are no fused kernels for {power} with loss={loss.name}"
    return None


def _unsupported_in_graphs(
    model: ModelConfig, loss: LossConfig, optimizer: OptimizerConfig, with_features: bool
) -> str | None:
    """Why no step of these parts can be launched again with another batch's numbers."""
    package = __name__.partition(".")[0]
    if not type(model).__module__.startswith(f"{package}."):
        return f"it knows what the models of this package draw, and not model={model.name}"
    if with_features:
        return "a batch has as many features as its users and items, which no graph can follow"
    if loss.by_user:
        return f"with loss={loss.name} each batch has another size, which no graph can follow"
    if isinstance(optimizer, TorchOptimizerConfig):
        return f"it records SGD and Adam, not torch.optim.{optimizer.class_name}"
    if optimizer.sparse_gradients:
        return "optimizer.sparse=true has gradients whose size differs from step to step"
    for name, side in optimizer.groups.sides.items():
        if side.lazy:
            return f"optimizer.groups.{name}.lazy=true counts the steps of each row by itself"
    return None


def _unsupported_to_rank(
    model: ModelConfig,
    loss: LossConfig,
    optimizer: OptimizerConfig,
    training: TrainingConfig,
    *,
    with_features: bool,
) -> str | None:
    """Why the kernels of losses that rank cannot train these parts."""
    what = f"with loss={loss.name}"
    if "biases" not in model.group_names:
        return f"there are no fused kernels for model={model.name} {what}"
    if with_features:
        return f"there are no fused kernels for features {what}"
    plain = isinstance(optimizer, SGDConfig) and not optimizer.momentum
    # Plain SGD takes single pairs, whose number only the data knows.
    if type(optimizer) is not AdamConfig and (loss.name == "softmax" or not plain):
        return f"there are no fused kernels for optimizer={getattr(optimizer, 'name', '')} {what}"
    if optimizer.decay != "per_row" and optimizer.decays:
        return f"there are no fused kernels for optimizer.decay={optimizer.decay} {what}"
    if training.row_updates == "lazy":
        return (
            f"training.row_updates=lazy is for loss=squared_error; {what}, set "
            "optimizer.groups.embeddings.users.lazy=true"
        )
    if training.sgd_threads > 1:
        return f"training.sgd_threads={training.sgd_threads} is for loss=squared_error"
    return None

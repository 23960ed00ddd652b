"""Which engine takes the optimizer steps, decided when the trainer is known, and why."""

import os
import shutil
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    BaseFinetuning,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelPruning,
    ProgressBar,
    StochasticWeightAveraging,
    Timer,
)

from lightning_collab.compat import detects_anomalies, saves_every_n_steps
from lightning_collab.config.engine import (
    Engine,
    StepNeeds,
    TrainingConfig,
    step_needs,
    unsupported_parts,
)
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.errors import ConfigError

COMPILERS = ("c++", "g++", "clang++")
# Hooks of callbacks and modules that see each gradient, and each step.
GRADIENT_HOOKS = (
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
)
STEP_HOOKS = ("on_train_batch_start", "on_train_batch_end")
# What a subclass of our module must leave alone for our kernels to do the same.
OWN_STEPS = ("training_step", "backward", "optimizer_step", "configure_optimizers")
# Lightning's callbacks that change the model or its optimizer between steps.
CHANGE_THE_MODEL = (
    BaseFinetuning,
    GradientAccumulationScheduler,
    ModelPruning,
    StochasticWeightAveraging,
)


class EngineChoice(NamedTuple):
    """What trains a model.

    Attributes:
        engine: its name.
        reason: why this one.
        blocks: whether it takes many steps at each batch of Lightning.
    """

    engine: Engine
    reason: str
    blocks: bool = False

    def __str__(self) -> str:
        return f"engine: {self.engine} ({self.reason})"


def choose_engine(
    module: Any, trainer: pl.Trainer, *, asked: str, with_features: bool
) -> EngineChoice:
    """The engine that trains a module under a trainer; under `auto`, the fastest that can.

    `auto` never compiles: that takes the better part of a minute, which most runs are shorter than.

    Args:
        module: a `RatingModule`.
        trainer: that it is given to.
        asked: `training.engine`.
        with_features: whether the model is told more than ids.

    Raises:
        ConfigError: what is asked for cannot do what the trainer, the model or its optimizer needs,
            or the machine lacks what it needs.
    """
    training: TrainingConfig = module.training_config
    dropout = module.model.item_dropout
    parts: dict[str, Any] = {
        "model": module.model.config,
        "loss": module.loss.config,
        "optimizer": module.optimizer_config,
        "training": training,
        "with_features": with_features,
        "id_dropout": 0.0 if dropout is None else dropout.share,
    }
    if asked == "compiled":
        reason = unsupported_parts("compiled", **parts)
        if reason is not None:
            raise ConfigError(f"training.engine=compiled: {reason}; set training.engine=eager")
        lacking = no_compiler()
        if lacking is not None:
            return EngineChoice("eager", f"not compiled: {lacking}")
        return EngineChoice("compiled", "as the config says")
    needs = _needs(module, trainer)
    if asked == "graphs":
        reason = unsupported_parts("graphs", **parts) or lacking_for_graphs(trainer)
        reason = reason or needs.autograd
        if reason is not None:
            raise ConfigError(f"training.engine=graphs: {reason}; set training.engine=eager")
        return EngineChoice("graphs", "as the config says")
    reason = (
        unsupported_parts("fused", **parts)
        or module.unsupported_by_data
        or ("its tables are split over ranks" if module.model.config.sharded else None)
        or lacking_for_fused(trainer)
        or needs.autograd
    )
    if asked == "fused" and reason is not None:
        raise ConfigError(f"training.engine=fused: {reason}; set training.engine=eager or auto")
    if asked == "eager" or reason is not None:
        cannot = unsupported_parts("eager", **parts)
        if cannot is not None:
            raise ConfigError(f"{cannot}{'' if reason is None else f'; {reason}'}")
        return EngineChoice("eager", reason if asked == "auto" and reason else "as the config says")
    if needs.single is not None:
        if training.sgd_threads > 1:
            raise ConfigError(
                f"training.sgd_threads={training.sgd_threads} takes many steps at once, and "
                f"{needs.single}; remove one"
            )
        return EngineChoice("fused", f"one step at a time, which is slower: {needs.single}")
    why = "as the config says" if asked == "fused" else "the fastest for this model on a CPU"
    return EngineChoice("fused", why, blocks=True)


def no_compiler() -> str | None:
    """What this machine lacks for torch.compile."""
    if any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        return None
    return "torch.compile needs a C++ compiler, and none is installed"


def lacking_for_fused(trainer: pl.Trainer) -> str | None:
    """What this machine, or the device that a trainer has chosen, lacks for our kernels."""
    if find_spec("numba") is None:
        return "numba is not installed (pip install numba)"
    device = trainer.strategy.root_device
    if trainer.world_size > 1:
        return _several_processes("fused", trainer)
    if device.type != "cpu":
        return f"the fused engine is CPU-only, but the trainer is on {device}"
    return None


def lacking_for_graphs(trainer: pl.Trainer) -> str | None:
    """What the devices of a trainer lack for CUDA graphs of whole steps."""
    device = trainer.strategy.root_device
    if trainer.world_size > 1:
        return _several_processes("graphs", trainer)
    if device.type != "cuda":
        return f"graphs are CUDA's, but the trainer is on {device}"
    return None


def _several_processes(engine: Engine, trainer: pl.Trainer) -> str:
    return f"the {engine} engine runs in one process, but the trainer has {trainer.world_size}"


def _needs(module: Any, trainer: pl.Trainer) -> StepNeeds:
    """What a trainer, its callbacks and a subclass of the module ask of whoever takes steps."""
    arguments = {
        "precision": trainer.precision,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "detect_anomaly": detects_anomalies(trainer),
        "max_steps": trainer.max_steps,
        "min_steps": trainer.min_steps,
        "limit_train_batches": trainer.limit_train_batches,
        "overfit_batches": getattr(trainer, "overfit_batches", 0),
        "val_check_interval": trainer.val_check_interval,
    }
    needs = step_needs(arguments)
    autograd, single = needs
    if trainer.gradient_clip_val is not None:
        autograd = autograd or "Lightning clips gradients, which only autograd computes"
    overridden = [name for name in OWN_STEPS if _overrides_ours(module, name)]
    if overridden:
        autograd = autograd or f"{type(module).__name__} has a {overridden[0]} of its own"
    for each in (module, *trainer.callbacks):  # type: ignore[attr-defined]
        name = type(each).__name__
        seen = [hook for hook in GRADIENT_HOOKS if _has_hook(each, hook)]
        if seen or isinstance(each, CHANGE_THE_MODEL):
            what = f"looks at gradients ({seen[0]})" if seen else "changes the model or optimizer"
            autograd = autograd or f"{name} {what}"
        if each is not module and _sees_steps(each):
            single = single or f"{name} looks at each step"
    if not isinstance(getattr(trainer, "datamodule", None), RatingDataModule):
        single = single or "the batches are not those of a RatingDataModule"
    return StepNeeds(autograd, single)


def _overrides_ours(module: Any, name: str) -> bool:
    defined = next(kind for kind in type(module).__mro__ if name in vars(kind))
    return not defined.__module__.startswith((__package__, "pytorch_lightning"))


def _has_hook(part: Any, hook: str) -> bool:
    """Whether a callback or module does anything in a hook."""
    kind = pl.Callback if isinstance(part, pl.Callback) else pl.LightningModule
    if hook in vars(part):  # LambdaCallback
        return True
    return getattr(type(part), hook, None) is not getattr(kind, hook, None)


def _sees_steps(callback: pl.Callback) -> bool:
    """Whether a callback must be called after each step, not after a block of them."""
    if getattr(callback, "takes_blocks", False) or isinstance(callback, ProgressBar | Timer):
        return False
    if isinstance(callback, ModelCheckpoint):
        return saves_every_n_steps(callback)
    if isinstance(callback, LearningRateMonitor) and callback.logging_interval == "epoch":
        return False
    return any(_has_hook(callback, hook) for hook in STEP_HOOKS)

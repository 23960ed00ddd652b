"""Which engine trains a run, and why."""

import logging
import os
import shutil
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch

from lightning_collab.config import RunConfig
from lightning_collab.config.training import Engine, obstacle
from lightning_collab.errors import ConfigError
from lightning_collab.models import RatingModel
from lightning_collab.training.gradient_module import GradientModule
from lightning_collab.training.schedules import Schedule

log = logging.getLogger(__name__)

COMPILERS = ("c++", "g++", "clang++")


class EngineChoice(NamedTuple):
    """What trains a run.

    Attributes:
        engine: its name.
        reason: why this one.
    """

    engine: Engine
    reason: str

    def __str__(self) -> str:
        return f"engine: {self.engine} ({self.reason})"


def choose_engine(config: RunConfig) -> EngineChoice:
    """The engine that a config asks for; under `auto`, the fastest that can.

    `auto` never compiles: that takes the better part of a minute, which most runs are shorter than.

    Args:
        config: of the run; its model is trained by gradient descent.

    Raises:
        ConfigError: this machine lacks what the engine that is asked for needs.
    """
    asked = config.training.engine
    if asked == "auto":
        return _fastest(config)
    reason = _lacking(asked, config)
    if reason is not None and asked == "compiled":
        return EngineChoice("eager", f"not compiled: {reason}")
    if reason is not None:
        raise ConfigError(f"training.engine={asked}: {reason}; say training.engine=eager")
    return EngineChoice(asked, "as the config says")


def by_autograd(config: RunConfig) -> bool:
    """Whether Lightning itself steps an optimiser with autograd's gradients.

    Args:
        config: of any run.
    """
    return config.model.by_gradient and choose_engine(config).engine != "fused"


def gradient_module(
    model: RatingModel, config: RunConfig, *, schedule: Schedule | None, **built_with: Any
) -> GradientModule:
    """The module of the engine that a config asks for.

    Args:
        model: what is trained.
        config: of the run.
        schedule: in place of the config's; each step is then seen by itself.
        built_with: see `GradientModule`.

    Raises:
        ConfigError: this machine lacks what the engine that is asked for needs.
    """
    chosen = choose_engine(config)
    if chosen.engine == "eager":
        if config.training.engine == "compiled":
            log.warning("%s", chosen)
        return GradientModule(model, config, schedule=schedule, **built_with)
    if chosen.engine == "compiled":
        from lightning_collab.training.engines.compiled_module import CompiledModule

        return CompiledModule(model, config, schedule=schedule, **built_with)
    # numba takes a while to import.
    from lightning_collab.training.engines.fused_module import FusedModule

    module = FusedModule(model, config, schedule=schedule, **built_with)
    module.one_by_one = schedule is not None
    return module


def _fastest(config: RunConfig) -> EngineChoice:
    reason = obstacle("fused", config) or _lacking("fused", config)
    if reason is None:
        return EngineChoice("fused", "the fastest for this model on a processor")
    if config.training.sgd_threads > 1:
        raise ConfigError(f"training.sgd_threads: {reason}")
    return EngineChoice("eager", reason)


def _lacking(engine: Engine, config: RunConfig) -> str | None:
    """What this machine lacks for an engine."""
    if engine == "fused":
        if find_spec("numba") is None:
            return "numba is not installed (pip install numba)"
        if config.trainer.accelerator == "auto" and torch.cuda.is_available():
            return "fused steps are of the processor, and trainer.accelerator=auto is not here"
    if engine == "compiled" and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        return "torch.compile needs a C++ compiler, and none is installed"
    return None

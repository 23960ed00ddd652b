"""Which engine trains a run, and why."""

import shutil
from importlib.util import find_spec
from typing import NamedTuple

import torch

from lightning_collab.config import RunConfig
from lightning_collab.config.training import Engine, obstacle
from lightning_collab.errors import ConfigError


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

    Args:
        config: of the run; its model is trained by gradient descent.

    Raises:
        ConfigError: this machine lacks what the engine that is asked for needs.
    """
    asked = config.training.engine
    if asked == "auto":
        return _fastest(config)
    reason = _lacking(asked, config)
    if reason is not None:
        raise ConfigError(f"training.engine={asked}: {reason}; say training.engine=eager")
    return EngineChoice(asked, "as the config says")


def _fastest(config: RunConfig) -> EngineChoice:
    reason = obstacle("fused", config) or _lacking("fused", config)
    if reason is not None:
        return EngineChoice("eager", reason)
    return EngineChoice("eager", "the reference")


def _lacking(engine: Engine, config: RunConfig) -> str | None:
    """What this machine lacks for an engine."""
    if engine == "fused":
        if find_spec("numba") is None:
            return "numba is not installed (pip install numba)"
        if config.trainer.accelerator == "auto" and torch.cuda.is_available():
            return "fused steps are of the processor, and trainer.accelerator=auto is not here"
    if engine == "compiled" and not any(map(shutil.which, ("c++", "g++", "clang++", "cc", "gcc"))):
        return "torch.compile needs a C++ compiler, and none is installed"
    return None

"""Hooks: Python functions that add to a search space and derive keys from what was drawn."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import optuna

from lightning_collab.config import RunConfig
from lightning_collab.config.scheduler import WarmRestartsConfig
from lightning_collab.errors import ConfigError

Hook = Callable[[optuna.trial.BaseTrial, RunConfig], Mapping[str, Any]]
"""Takes the trial, whose `params` are drawn and which may `suggest_...` more, and the config of
the run so far; returns further config keys and their values."""

LARGEST_CYCLES = 5


def load_hook(name: str | None) -> Hook | None:
    """The function that `hydra.sweeper.hook` names.

    Args:
        name: package.module.function; None: there is none.

    Raises:
        ConfigError: it cannot be imported.
    """
    if name is None:
        return None
    module, _, function = name.rpartition(".")
    try:
        hook: Hook = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"hydra.sweeper.hook={name}: {error}; say package.module.function of something that "
            "Python can import (PYTHONPATH counts)"
        ) from None
    return hook


def number_of_cycles(trial: optuna.trial.BaseTrial, config: RunConfig) -> dict[str, Any]:
    """Draw how many cycles a run has; the length of the first follows.

    The cycles fill `trainer.max_epochs` exactly, whatever that is, so that every run ends at the
    lowest learning rate: n cycles, each `cycle_mult` times as long as the one before, take
    cycle_len * (mult^n - 1) / (mult - 1) epochs.

    Args:
        trial: of the study; it gets the parameter `cycles`.
        config: of the run.
    """
    cycles = trial.suggest_int("cycles", 1, LARGEST_CYCLES)
    scheduler = config.scheduler
    if not isinstance(scheduler, WarmRestartsConfig):
        raise ConfigError(
            f"scheduler={scheduler.name} has no cycles; say scheduler=warm_restarts, or leave out "
            "the hook with hydra.sweeper.hook=null"
        )
    mult = scheduler.cycle_mult
    firsts = cycles if mult == 1 else (mult**cycles - 1) / (mult - 1)
    return {"scheduler.cycle_len": config.trainer.max_epochs / firsts}

"""What proposes parameters and what stops trials, as the config describes them."""

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from hydra.errors import HydraException
from hydra.utils import instantiate
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from lightning_collab.errors import ConfigError
from lightning_collab.tuning.space import SearchSpace


class GridSampler(optuna.samplers.GridSampler):
    """Every point of the grid once; the coordinator, not the sampler, ends the study."""

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Optuna's own would call `study.stop`, which there is not with ask and tell."""


def is_grid(node: dict[str, Any]) -> bool:
    """Whether a sampler's node asks for a grid."""
    return str(node.get("_target_", "")).endswith("GridSampler")


def build_sampler(
    node: dict[str, Any], space: SearchSpace, *, seed: int, number: int
) -> BaseSampler:
    """The sampler that proposes the parameters of one trial.

    Its random numbers follow from the seed and the trial's number: a study that is resumed, or
    that several processes share, draws what is next and never the same again.

    Args:
        node: with the class under `_target_` and its arguments.
        space: what is searched.
        seed: of the study.
        number: of the trial.

    Raises:
        ConfigError: the node does not describe a sampler.
    """
    # A grid is shuffled by its seed, so that all trials must have the same.
    draws = seed if is_grid(node) else _mixed(seed, number)
    further: dict[str, Any] = {"search_space": space.grid()} if is_grid(node) else {}
    sampler: BaseSampler = _built(node, BaseSampler, "hydra.sweeper.sampler", seed=draws, **further)
    return sampler


def build_pruner(node: dict[str, Any]) -> BasePruner:
    """The pruner that a node describes.

    Args:
        node: with the class under `_target_` and its arguments.

    Raises:
        ConfigError: the node does not describe a pruner.
    """
    pruner: BasePruner = _built(node, BasePruner, "hydra.sweeper.pruner")
    return pruner


def _built(node: dict[str, Any], kind: type[Any], key: str, **further: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            make = instantiate({**node, "_partial_": True}, _convert_="all")
            if not callable(make):
                raise TypeError("it has no _target_")
            known = inspect.signature(make.func).parameters
            built = make(**{name: value for name, value in further.items() if name in known})
    except (HydraException, TypeError, ValueError, ImportError, AttributeError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(f"{key}: {reason}") from None
    if not isinstance(built, kind):
        raise ConfigError(f"{key}: {node.get('_target_')} is not a {kind.__name__} of Optuna")
    return built


def _mixed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])

"""A run's config from overrides, as scripts/train.py would compose it."""

from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from lightning_collab.config.run import RunConfig, validated

NOT_OF_A_RUN = ("resume", "hydra")


def composed_run(*overrides: str) -> RunConfig:
    """The checked config of a run; for jobs that make runs, inside a script started by Hydra.

    Args:
        overrides: as typed on the command line of scripts/train.py.

    Raises:
        ConfigError: see `validated`.
    """
    plain: Any = OmegaConf.to_container(compose("train", list(overrides)), resolve=True)
    return validated({key: value for key, value in plain.items() if key not in NOT_OF_A_RUN})

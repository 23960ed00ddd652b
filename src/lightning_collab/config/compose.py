"""Configs of runs composed from overrides: of a new run, and of one that is resumed."""

from collections.abc import Mapping
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from lightning_collab.config.run import RunConfig, validated
from lightning_collab.errors import ConfigError

NOT_OF_A_RUN = ("resume", "hydra")


def composed_run(*overrides: str) -> RunConfig:
    """The checked config of a run; for jobs that make runs, inside a script started by Hydra.

    Args:
        overrides: as typed on the command line of the command train.

    Raises:
        ConfigError: see `validated`.
    """
    plain: Any = OmegaConf.to_container(compose("train", list(overrides)), resolve=True)
    return validated({key: value for key, value in plain.items() if key not in NOT_OF_A_RUN})


FIXED_BY_THE_CHECKPOINT = ("experiment", "model", "data", "split", "optimizer", "features")


def resumed_config(
    saved: Mapping[str, Any], composed: DictConfig, typed: list[str], config_name: str
) -> dict[str, Any]:
    """Lay the overrides that were typed over a saved config.

    Args:
        saved: the run's own config.yaml.
        composed: what Hydra made of the defaults and the overrides.
        typed: the overrides as they were typed.
        config_name: the config that is composed.

    Returns:
        The config to go on with, as plain values.

    Raises:
        ConfigError: an override that changes what the checkpoint is of.
    """
    result = OmegaConf.create(dict(saved))
    menus = HydraConfig.get().runtime.choices
    overrides = {o.key_or_group: o for o in OverridesParser.create().parse_overrides(typed)}
    overrides.pop("resume", None)
    for group in [key for key in overrides if key in menus]:
        option = overrides.pop(group).value()
        if group in FIXED_BY_THE_CHECKPOINT:
            raise ConfigError(
                f"{group}={option} cannot be changed on resume, since the checkpoint was made with "
                "another; single keys can"
            )
        result[group] = compose(config_name, [f"{group}={option}"])[group]
        if "name" in saved[group]:
            # Values that were once typed, not the old option's own, still hold.
            own = compose(config_name, [f"{group}={saved[group]['name']}"])[group]
            for key, value in saved[group].items():
                if value != own[key]:
                    OmegaConf.update(result, f"{group}.{key}", value)
    for key in overrides:
        OmegaConf.update(result, key, OmegaConf.select(composed, key))
    plain: Any = OmegaConf.to_container(result, resolve=True)
    return dict(plain)

"""`conf/cross_validate.yaml`: what a cross-validation has beside the config of each run."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from pydantic import Field

from lightning_collab.config.compose import composed_run
from lightning_collab.config.run import RunConfig
from lightning_collab.config.section import MOST, Section, checked
from lightning_collab.config.split import (
    ColdItemsConfig,
    ColdUsersConfig,
    KFoldSplitConfig,
    OfficialFoldConfig,
)
from lightning_collab.errors import ConfigError

# The disjoint ones; ua and ub do not cover all rows.
OFFICIAL_FOLDS = ("u1", "u2", "u3", "u4", "u5")

Fold = int | str


class CrossValidationConfig(Section):
    """What is cross-validated."""

    # Experiments on the same folds; null: the one that is typed.
    compare: Annotated[list[str], Field(min_length=2)] | None
    # How often all folds are run.
    repeats: Annotated[int, Field(ge=1, le=MOST)]
    # Which folds to run now; null: all.
    folds: Fold | list[Fold] | None


OWN_KEYS = tuple(CrossValidationConfig.model_fields)


def cross_validation_config(config: Mapping[str, Any]) -> CrossValidationConfig:
    """The checked own keys of a composed config.

    Args:
        config: as plain values.

    Raises:
        ConfigError: a value of the wrong type.
    """
    return checked(CrossValidationConfig, {key: config[key] for key in OWN_KEYS})


def experiments(
    config: CrossValidationConfig, typed: Sequence[str], choices: Mapping[str, Any]
) -> dict[str, RunConfig]:
    """The config of each experiment, by the name that it is reported under.

    Args:
        config: the checked own keys.
        typed: overrides as they were typed.
        choices: Hydra's, which option of each group.

    Raises:
        ConfigError: a name that is neither an experiment nor a model, or a config that cannot be.
    """
    common = [each for each in typed if each.lstrip("+~").split("=")[0] not in OWN_KEYS]
    if not any(each.startswith("split=") for each in common):
        common.insert(0, "split=k_fold")
    if config.compare is None:
        name = choices.get("experiment") or choices["model"]
        return {str(name): composed_run(*common)}
    if len(set(config.compare)) < len(config.compare):
        raise ConfigError(f"compare={config.compare} names an experiment twice")
    return {name: composed_run(*_overrides(name), *common) for name in config.compare}


def _overrides(name: str) -> list[str]:
    """What an entry of `compare` stands for."""
    if "=" in name:
        return shlex.split(name)
    loader = GlobalHydra.instance().config_loader()
    groups = {
        group: loader.get_group_options(group, ObjectType.CONFIG)
        for group in ("experiment", "model")
    }
    for group, options in groups.items():
        if name in options:
            return [f"{group}={name}"]
    raise ConfigError(
        f"compare: {name!r} is neither an experiment ({', '.join(groups['experiment']) or 'none'}) "
        f"nor a model ({', '.join(groups['model'])}), and has no override such as model.factors=20"
    )


def folds_of(run: RunConfig) -> list[Fold]:
    """The folds that a run's split is one of.

    Args:
        run: the config of an experiment.

    Raises:
        ConfigError: the split has no folds.
    """
    match run.split:
        case KFoldSplitConfig():
            return list(range(1, run.split.folds + 1))
        case ColdItemsConfig() | ColdUsersConfig() if run.split.folds is not None:
            return list(range(1, run.split.folds + 1))
        case ColdItemsConfig() | ColdUsersConfig():
            raise ConfigError(
                f"split={run.split.name} has folds only with split.folds, such as split.folds=5"
            )
        case OfficialFoldConfig():
            return list(OFFICIAL_FOLDS)
        case _:
            raise ConfigError(
                f"split={run.split.name} has no folds; set split=k_fold (random, any number) or "
                "split=official_fold (u1 to u5 of MovieLens 100K)"
            )


def chosen_folds(config: CrossValidationConfig, there: Sequence[Fold]) -> list[Fold]:
    """The folds to run now.

    Args:
        config: the checked own keys.
        there: all folds.

    Raises:
        ConfigError: one that does not exist.
    """
    if config.folds is None:
        return list(there)
    chosen = config.folds if isinstance(config.folds, list) else [config.folds]
    for fold in chosen:
        if fold not in there:
            raise ConfigError(f"folds={fold}: the folds are {', '.join(map(str, there))}")
    return chosen

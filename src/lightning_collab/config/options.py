"""Options of config groups that have no file: parts of others, with the defaults of their types."""

from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from lightning_collab.config.registry import REGISTRIES

# Groups in which an option is a part; further metrics are named in a list.
GROUPS = [group for group in REGISTRIES if group != "metrics"]


def options_of_others() -> dict[str, list[str]]:
    """Config group -> names of the parts of others in it, where there are any.

    Raises:
        ConfigError: an installed package offers a name that is ours.
    """
    options = {group: REGISTRIES[group].names_of_others for group in GROUPS}
    return {group: names for group, names in options.items() if names}


def is_part_of_others(group: str, name: str) -> bool:
    """Whether an option is a part of others.

    Args:
        group: of the config, or any other folder.
        name: of the option.
    """
    if group not in GROUPS or REGISTRIES[group].is_ours(name):
        return False
    return name in REGISTRIES[group]


def default_option(group: str, name: str) -> DictConfig:
    """What a file of a config group would say of a part of others.

    Args:
        group: of the config.
        name: of the part, which is imported.

    Returns:
        Its keys with their defaults; a key without a default must be set.

    Raises:
        ConfigError: the part cannot be had.
    """
    kind: type[Any] = REGISTRIES[group][name]
    values: dict[str, Any] = {
        key: MISSING for key, field in kind.model_fields.items() if field.is_required()
    }
    values |= kind.model_construct(name=name).model_dump(mode="json", warnings=False)
    return OmegaConf.create({key: values[key] for key in kind.model_fields})

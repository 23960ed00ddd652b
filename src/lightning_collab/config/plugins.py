"""Parts of others: the record of a run's, what is not installed, and options without a file."""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from lightning_collab.config.registry import METRICS, REGISTRIES
from lightning_collab.errors import ConfigError

RECORD = "plugins"
# A class by its path, which no config of ours has: "package.module:Class".
CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
# Sections whose values are names in files of the user's own, where a colon may well be.
OF_THE_DATA = ("data", "split", "features")
DISTRIBUTION = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*) (?P<version>[0-9][\w.+!-]*)")


def plugins_of(config: Any) -> dict[str, str]:
    """Whose the parts of a run are that are not ours.

    Args:
        config: a RunConfig.

    Returns:
        Config key of the part -> `my-package 1.2`, or `module x` of one that the caller registered.
    """
    chosen = {
        group: (registry, section.name)
        for group, registry in REGISTRIES.items()
        if (section := getattr(config, group, None)) is not None and hasattr(section, "name")
    }
    chosen |= {f"metrics.{name}": (METRICS, name) for name in config.metrics.further}
    origins = {key: registry.origin_of(name) for key, (registry, name) in chosen.items()}
    return {key: origin for key, origin in origins.items() if origin is not None}


def check_installed(saved: Mapping[str, Any], file: Path, *keys: str) -> None:
    """Refuse a saved config whose parts are of packages that are not here.

    Args:
        saved: a run's config as plain values.
        file: that it is of, for the message.
        keys: of the parts that are needed; none: all.

    Raises:
        ConfigError: the message says what to install.
    """
    for key, origin in _record(saved).items():
        group, _, metric = key.partition(".")
        name = metric or _name(saved, group)
        needed = not keys or key in keys
        if needed and group in REGISTRIES and name and name not in REGISTRIES[group]:
            raise ConfigError(f"{file}: {group}={name} is of {_advice(origin, group, name)}")


def made_with(saved: Mapping[str, Any], group: str) -> str | None:
    """The package that a part of a run is of, where the one that is here is another; else None.

    Args:
        saved: a run's config as plain values.
        group: config group of the part.
    """
    origin = _record(saved).get(group)
    name = _name(saved, group)
    here = REGISTRIES[group].origin_of(name) if name and name in REGISTRIES[group] else None
    if origin is None or origin == here:
        return None
    return f"it was made with {origin}, and the version here is {here or 'none'}"


def changed_since(saved: Mapping[str, Any]) -> list[str]:
    """The parts of a run that are of another version here, a line each.

    Args:
        saved: a run's config as plain values.
    """
    groups = [key for key in _record(saved) if key in REGISTRIES]
    found = {group: made_with(saved, group) for group in groups}
    return [f"{group}={_name(saved, group)}: {text}" for group, text in found.items() if text]


def refuse_class_paths(saved: Any, file: Path) -> None:
    """Refuse a saved config that names a class by its path; none is imported from a config.

    Args:
        saved: a run's config as plain values.
        file: that it is of, for the message.

    Raises:
        ConfigError: the message names the key.
    """
    for key, value in _leaves(saved):
        last = key.rpartition(".")[2]
        free = key.partition(".")[0] in OF_THE_DATA and last != "name"
        by_path = isinstance(value, str) and CLASS_PATH.fullmatch(value) and not free
        if last == "_target_" or by_path:
            raise ConfigError(
                f"{file}: refused: {key} names a class by its path ({value}). Nothing was "
                "imported. A run names its parts by the names that packages register them under"
            )


def refuse_interpolations(saved: Any, file: Path) -> None:
    """Refuse a saved config with an interpolation in it; ours are plain values.

    To resolve one, such as ${oc.env:NAME}, would read what is the user's own, and keep it in files.
    Names of files and columns may have any letters, and are never resolved.

    Args:
        saved: a run's config as plain values.
        file: that it is of, for the message.

    Raises:
        ConfigError: the message names the key.
    """
    for key, value in _leaves(saved):
        named = key.partition(".")[0] in ("data", "init_from")
        if "${" in key or (isinstance(value, str) and "${" in value and not named):
            raise ConfigError(
                f"{file}: refused: {key} is an interpolation ({value}), and the config of a run "
                "holds plain values alone. It was not resolved; write the value itself in its place"
            )


def _record(saved: Mapping[str, Any]) -> dict[str, str]:
    record = saved.get(RECORD)
    return {str(k): str(v) for k, v in record.items()} if isinstance(record, Mapping) else {}


def _name(saved: Mapping[str, Any], group: str) -> str | None:
    section = saved.get(group)
    name = section.get("name") if isinstance(section, Mapping) else None
    return name if isinstance(name, str) else None


def _advice(origin: str, group: str, name: str) -> str:
    found = DISTRIBUTION.fullmatch(origin)
    if found is None:
        return (
            f"{origin}, which registered it; import that module first, or register the class by "
            f"lightning_collab.register_{REGISTRIES[group].kind}"
        )
    try:
        here = version(found["name"])
    except PackageNotFoundError:
        return (
            f"{origin}, which is not installed here; to install it: pip install "
            f"'{found['name']}=={found['version']}'"
        )
    return (
        f"{origin}, and {found['name']} {here} is installed, which offers no {name!r}; to install "
        f"the other: pip install '{found['name']}=={found['version']}'"
    )


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each key, and each entry of a list, that is no section itself, with its whole name."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            name = f"{prefix}.{key}" if prefix else str(key)
            if key == "_target_":
                yield name, value
            else:
                yield from _leaves(value, name)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _leaves(value, f"{prefix}.{number}")
    else:
        yield prefix, node


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

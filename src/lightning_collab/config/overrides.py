"""A run's config from Python: overrides are values, and Hydra's global state is left alone."""

import copy
import re
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from lightning_collab.compat import hydra_composer
from lightning_collab.config.compose import config_error, no_option, plain
from lightning_collab.config.section import invalid

KEY = re.compile(r"\w+(\.\w+)*")
OPTION = re.compile(r"[\w./+-]+")
# What train() has arguments, or other ways, for.
NOT_OF_PYTHON = {
    "hydra": "is for the commands; in Python the run directory is run_dir",
    "resume": "is for the command; in Python: lightning_collab.load(<run directory>).resume()",
    "sweep": "is for the command: lightning-collab train -m sweep=...",
}


def composed_in_python(folder: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config as plain values, from Python; Hydra knows of it no more than before.

    Args:
        folder: of the config groups.
        overrides: config group -> name of an option, several names in a list, or a mapping of keys
            of which `name` is the option; key, with dots -> value. Values are taken as they are:
            text is never read as Hydra's grammar, and an interpolation in it is none.

    Raises:
        ConfigError: a group has no such option, or a key is none.
    """
    options: dict[str, str] = {}
    values: dict[str, Any] = {}
    with hydra_composer(str(folder)) as loader:
        for key, value in overrides.items():
            _check_key(key)
            plain_value = _plain_value(value)
            known = loader.get_group_options(key.replace(".", "/"))
            if not known or (plain_value is None and key != "experiment"):
                values[key] = plain_value
            elif plain_value is not None:
                option, rest = _option_and_keys(key, plain_value)
                if option is not None:
                    options[key] = _typed_option(key, option, known)
                if rest:
                    values[key] = rest
        typed = list(options.values())
        try:
            config: DictConfig = loader.load_configuration("train", typed, RunMode.RUN)
        except HydraException as error:
            raise config_error(error, typed) from None
    config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        with open_dict(config):
            for key, value in values.items():
                # So that what refers to a key finds its value; an unknown one is for the check.
                OmegaConf.update(config, key, _without_interpolation(value), force_add=True)
        result = plain(config)
    except OmegaConfBaseException as error:
        raise invalid(str(error).splitlines()[0]) from None
    return with_values(result, values)


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A config of plain values with some keys set, exactly as they are.

    Args:
        config: left as it is.
        values: key, with dots -> value; a mapping is laid over the section that is there.

    Raises:
        ConfigError: a key that is none, or below a value that is no section; a section that would
            become a single value.
    """
    result = copy.deepcopy(dict(config))
    for key, value in values.items():
        _check_key(key)
        *path, last = key.split(".")
        node = result
        for done, step in enumerate(path, 1):
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                raise invalid(f"{key}: {'.'.join(path[:done])} is not a section (it is {node!r})")
        _lay(node, last, _plain_value(value), key)
    return result


def _lay(node: dict[str, Any], name: str, value: Any, key: str) -> None:
    before = node.get(name)
    if isinstance(before, dict) and isinstance(value, dict):
        for inner, each in value.items():
            _lay(before, inner, each, f"{key}.{inner}")
    elif isinstance(before, dict) and before.get("name") is not None and value is not None:
        raise invalid(f"{key}: is a section; set its keys, such as {key}.{list(before)[-1]}")
    else:
        node[name] = value


def _check_key(key: Any) -> None:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise invalid(f"{key!r}: is not a key; keys are names with dots, such as 'optimizer.lr'")
    reason = NOT_OF_PYTHON.get(key.split(".")[0])
    if reason is not None:
        raise invalid(f"{key}: {reason}")


def _option_and_keys(group: str, value: Any) -> tuple[str | list[str] | None, dict[str, Any]]:
    """Which option of a group a value names, and the keys that it sets beside."""
    match value:
        case str():
            return value, {}
        case [*names] if all(isinstance(each, str) for each in names):
            return names, {}
        case {"name": str(name), **others}:
            return name, {str(each): others[each] for each in others}
        case dict():
            return None, value
    raise invalid(
        f"{group}: must be the name of an option, or a mapping of its keys (got {value!r})"
    )


def _typed_option(group: str, option: str | list[str], known: Sequence[str]) -> str:
    names = option if isinstance(option, list) else [option]
    for name in names:
        if not OPTION.fullmatch(name):
            raise invalid(no_option(f"{group}/{name}", known))
    chosen = f"[{','.join(names)}]" if isinstance(option, list) else option
    return f"{group.replace('.', '/')}={chosen}"


def _plain_value(value: Any) -> Any:
    """A value as YAML would have it: lists for tuples, numbers of Python for those of numpy."""
    match value:
        case BaseModel():
            return _plain_value(value.model_dump())
        case Mapping():
            return {str(key): _plain_value(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain_value(each) for each in value]
        case PathLike():
            return fspath(value)
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    return value


def _without_interpolation(value: Any) -> Any:
    """A value that OmegaConf holds, in which `${...}` stands for itself."""
    match value:
        case dict():
            return {key: _without_interpolation(each) for key, each in value.items()}
        case list():
            return [_without_interpolation(each) for each in value]
        case str():
            return re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value)
        case None | bool() | int() | float():
            return value
    return str(value)

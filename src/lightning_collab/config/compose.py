"""Configs composed from overrides, and what Hydra says of overrides that make none."""

import copy
import re
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel

from lightning_collab.compat import hydra_composer
from lightning_collab.config.logger import LoggersConfig
from lightning_collab.config.renamed import new_form
from lightning_collab.config.run import RunConfig, validated
from lightning_collab.config.section import invalid, may_be_added, suggestion
from lightning_collab.config.trainer import NOT_ARGUMENTS
from lightning_collab.errors import ConfigError

NOT_OF_A_RUN = ("resume", "hydra")
LOGGERS = [*LoggersConfig.model_fields, "none"]


def composed_run(*overrides: str) -> RunConfig:
    """The checked config of a run; for commands that make runs, inside one started by Hydra.

    Args:
        overrides: as typed on the command line of the command train.

    Raises:
        ConfigError: see `validated`.
    """
    return validated(plain(_composed("train", *overrides)))


def plain(config: DictConfig) -> dict[str, Any]:
    """A run's config, resolved, as nested dictionaries without what is not of the run."""
    try:
        values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise invalid(f"{error.full_key}: a value is needed") from None
    return {key: value for key, value in values.items() if key not in NOT_OF_A_RUN}


def _composed(config_name: str, *overrides: str) -> DictConfig:
    try:
        return compose(config_name, list(overrides))
    except HydraException as error:
        raise config_error(error, overrides) from None


def config_error(error: HydraException, typed: Sequence[str]) -> ConfigError:
    """What Hydra says of overrides, in the words that all errors of a config have.

    Args:
        error: of composing a config.
        typed: the overrides.
    """
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return invalid(_no_option(error.missing_cfg_file, error.options))
    unknown = re.search(r"Could not load '(\w+)/(\w+)'", str(error))
    if isinstance(error, MissingConfigException) and unknown and unknown[1] == "logger":
        # Of a list of options Hydra does not say what there is.
        return invalid(_no_option("/".join(unknown.groups()), LOGGERS))
    if isinstance(error, OverrideParseException):
        return invalid(f"{error.override}: {error.message.strip().splitlines()[0]}")
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return invalid(_no_key(cause, typed))
    return invalid(*(line.strip() for line in str(error).splitlines() if line.strip()))


# What runs have that were started in Python, and no command can be told.
ONLY_IN_PYTHON = {
    "data/frame": "data=frame: a frame is passed in Python, to lightning_collab.train(frame) or "
    "lightning_collab.load(<run directory>).evaluate(frame); a command reads files: "
    "set data=csv data.path=<file of the ratings>"
}


def _no_option(place: str, options: Sequence[str]) -> str:
    if place in ONLY_IN_PYTHON:
        return ONLY_IN_PYTHON[place]
    group, _, option = place.rpartition("/")
    known = suggestion(option, sorted(options))
    return new_form(group, option) or f"{group}={option}: no such option; {known}"


def _no_key(cause: OmegaConfBaseException, typed: Sequence[str]) -> str:
    """One line for a key that the composed config does not have."""
    name = str(cause.full_key)
    *path, key = name.split(".")
    values = _values(cause.parent_node)
    for each in typed:
        typed_name, _, value = each.partition("=")
        renamed = new_form(name, value) if typed_name == name else None
        if renamed is not None:
            return renamed
    if path == ["trainer"] and key in NOT_ARGUMENTS:
        return f"{name} cannot be set: {NOT_ARGUMENTS[key]}"
    if path == ["logger"] and key in LoggersConfig.model_fields:
        chosen = ",".join([*values, key])
        return f"{name}: {key} is not among the loggers; choose it by logger=[{chosen}]"
    if path and may_be_added(RunConfig, path, values, key):
        return f"{name}: not in the config yet; add it with +{name}=..."
    return f"{name}: unknown key; {suggestion(key, [each for each in values if each != 'hydra'])}"


def _values(node: Any) -> dict[str, Any]:
    """The keys beside the one that is not there, and their values."""
    values = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_dict(node) else None
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


KEY = re.compile(r"\w+(\.\w+)*")
OPTION = re.compile(r"[\w./+-]+")
# What train() has arguments, or other ways, for.
NOT_OF_PYTHON = {
    "hydra": "is of the commands; in Python the run directory is run_dir",
    "resume": "is of the command; in Python: lightning_collab.load(<run directory>).resume()",
    "sweep": "is of the command: lightning-collab train -m sweep=...",
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
                raise invalid(f"{key}: {'.'.join(path[:done])} is no section (it is {node!r})")
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
        raise invalid(f"{key!r}: is no key; keys are names with dots, such as 'optimizer.lr'")
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
            raise invalid(_no_option(f"{group}/{name}", known))
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


FIXED_BY_THE_CHECKPOINT = (
    *("experiment", "model", "loss", "data", "split", "optimizer", "features"),
)


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
    groups = HydraConfig.get().runtime.choices
    overrides = {o.key_or_group: o for o in OverridesParser.create().parse_overrides(typed)}
    overrides.pop("resume", None)
    if overrides.pop("logger", None) is not None:
        # Options of which there can be several, so that none is Hydra's choice of the group.
        chosen = composed.logger
        result["logger"] = {
            name: OmegaConf.merge(chosen[name], saved["logger"].get(name) or {}) for name in chosen
        }
    for group in [key for key in overrides if key in groups]:
        option = overrides.pop(group).value()
        if group in FIXED_BY_THE_CHECKPOINT:
            raise ConfigError(
                f"{group}={option} cannot be changed on resume, since the checkpoint was made with "
                "another; single keys can"
            )
        result[group] = _composed(config_name, f"{group}={option}")[group]
        before = saved.get(group, {})
        if group == "callbacks":
            # What the run has had, whatever it goes on with.
            had = before.get("further_classes", [])
            OmegaConf.update(result, "callbacks.further_classes", had, force_add=True)
        if "name" in before:
            # Values that were once typed, not the old option's own, still hold.
            own = _composed(config_name, f"{group}={before['name']}")[group]
            for key, value in before.items():
                if value != own[key]:
                    OmegaConf.update(result, f"{group}.{key}", value)
    for key in overrides:
        value = OmegaConf.select(composed, key)
        merge = OmegaConf.is_dict(value) and OmegaConf.is_dict(OmegaConf.select(result, key))
        OmegaConf.update(result, key, value, merge=merge)
    return plain(result)

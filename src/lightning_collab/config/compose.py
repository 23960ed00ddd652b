"""Configs composed from overrides, what Hydra says of wrong ones, and what goes beside `resume`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from lightning_collab.config.renamed import new_form
from lightning_collab.config.run import RunConfig, validated
from lightning_collab.config.section import invalid, may_be_added, suggestion
from lightning_collab.config.trainer import NOT_ARGUMENTS, LoggersConfig
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
    """What Hydra says about overrides, in the form of all config errors.

    Args:
        error: of composing a config.
        typed: the overrides.
    """
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return invalid(no_option(error.missing_cfg_file, error.options))
    unknown = re.search(r"Could not load '(\w+)/(\w+)'", str(error))
    if isinstance(error, MissingConfigException) and unknown and unknown[1] == "logger":
        # For a list of options Hydra does not say which exist.
        return invalid(no_option("/".join(unknown.groups()), LOGGERS))
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


def no_option(place: str, options: Sequence[str]) -> str:
    """One line for an option that a config group does not have.

    Args:
        place: group/option.
        options: that there are.
    """
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
        return f"{name}: {key} is not one of the loggers; choose it with logger=[{chosen}]"
    if path and may_be_added(RunConfig, path, values, key):
        return f"{name}: not in the config yet; add it with +{name}=..."
    return f"{name}: unknown key; {suggestion(key, [each for each in values if each != 'hydra'])}"


def _values(node: Any) -> dict[str, Any]:
    """The keys beside the missing one, and their values."""
    values = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_dict(node) else None
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


FIXED_BY_THE_CHECKPOINT = (
    *("experiment", "model", "loss", "data", "split", "optimizer", "features"),
)


def _literal(values: Any) -> Any:
    """Values in which OmegaConf finds nothing to resolve: of a saved config all are plain."""
    if isinstance(values, dict):
        return {key: _literal(each) for key, each in values.items()}
    if isinstance(values, list):
        return [_literal(each) for each in values]
    return values.replace("${", "\\${") if isinstance(values, str) else values


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
        The config to continue with, as plain values.

    Raises:
        ConfigError: an override that changes what the checkpoint is of.
    """
    result = OmegaConf.create(_literal(dict(saved)))
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
            # What the run had, whatever it continues with.
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


# Sections and keys with which a run continues as they are typed.
HONOURED = (
    *("trainer", "training", "scheduler", "optimizer", "logger", "callbacks", "metrics"),
    *("model.sharding", "model.embedding_dropout", "model.hidden_dropout"),
    # Where the ratings are now; that they are those of the run is seen when they are read.
    *("data.root", "data.path", "data.val_path", "data.test_path"),
    *("data.users_path", "data.items_path", "data.cache"),
    # Of a frame, what is known of it once it is read; a record of packages.
    *("data.fingerprint", "data.rows", "plugins"),
)
# Sections and keys that belong to the whole run, and why; the longest that fits holds.
REFUSED = {
    "seed": "the weights and orders of the run were drawn with it",
    "data": "the run was trained on its ratings, and counts its steps in batches of them",
    "split": "it says which ratings are tested, and the run must not have been trained on these",
    "features": "the model was made for its features",
    "model": "the checkpoint is of the model as it was made",
    "loss": "the run is measured by it from its first epoch on",
    "optimizer.name": "the checkpoint has the state of another optimizer",
    "optimizer.class_name": "the checkpoint has the state of another optimizer",
    "optimizer.sparse": "the checkpoint has the state of another optimizer",
    **{
        f"optimizer.groups.{group}.{side}": "the checkpoint has the state of these groups as they "
        "were formed"
        for group in ("embeddings", "biases")
        for side in ("users", "items")
    },
    "averaging": "the checkpoint has the averages, or none, of the steps before",
    "callbacks.monitor": "best.ckpt of the epochs before was chosen by another metric",
    "lr_range_test": "it applies only at the start of a run",
    "find_lr": "it applies only at the start of a run",
    "init_from": "it applies only at the start of a run",
}

ABSENT = "not there"


def check_resumed(saved: Mapping[str, Any], asked: RunConfig) -> None:
    """Refuse to continue with what would make it another run.

    Args:
        saved: the run's own config as plain values; of an earlier version it may lack keys.
        asked: the config to continue with.

    Raises:
        ConfigError: a key differs that the run cannot continue with; the message names each.
    """
    before = dict(_leaves(saved))
    after = dict(_leaves(asked.as_kept().model_dump(mode="json")))
    lines = []
    for key in dict.fromkeys([*after, *before]):
        known = before.get(key, ABSENT if _emptied(key, before) else after.get(key))
        if known == after.get(key, ABSENT if _emptied(key, after) else known):
            continue
        reason = why_refused(key)
        if reason is not None:
            was = "null" if known is None else known
            lines.append(
                f"{key}: {was} in the run, and cannot be changed on resume, since {reason}; leave "
                "it out, or train a new run"
            )
    if lines:
        raise invalid(*lines)


def why_refused(key: str) -> str | None:
    """Why a run cannot continue with another value of a key; None where it can.

    Args:
        key: of the config, with dots.

    Raises:
        KeyError: nothing is said of such a key.
    """
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in REFUSED:
            return REFUSED[name]
        if name in HONOURED:
            return None
    raise KeyError(key)


def _emptied(key: str, leaves: Mapping[str, Any]) -> bool:
    """Whether a section above a key is there, and empty: the key is not one of another version."""
    parts = key.split(".")
    return any(leaves.get(".".join(parts[:end])) == {} for end in range(1, len(parts)))


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each key with dots, and its value; what is empty counts as a value."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value

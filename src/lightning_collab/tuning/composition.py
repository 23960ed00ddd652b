"""From the parameters of a trial to the checked config of its run, and back to an experiment."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from lightning_collab.config import RunConfig, validated
from lightning_collab.config.compose import NOT_OF_A_RUN, config_error, plain
from lightning_collab.errors import ConfigError
from lightning_collab.runs.invocation import hydra_value


class Composer:
    """Composes configs of one script that differ in some keys.

    Hydra composes once for each combination of config groups; single keys are set in a copy of
    that, which gives the same config a hundred times faster.

    Args:
        config_loader: Hydra's.
        master: the config of the sweep, with its `hydra` part.
        fixed: overrides that all have in common.
    """

    def __init__(self, config_loader: Any, master: DictConfig, fixed: Sequence[str]) -> None:
        self._config_loader = config_loader
        self._master = master
        self._fixed = tuple(fixed)
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    @property
    def groups(self) -> dict[str, Any]:
        """The config groups and what is chosen of each, before any parameter is set."""
        return dict(self._master.hydra.runtime.choices)

    def compose(self, parameters: Mapping[str, Any]) -> DictConfig:
        """The config with some keys or groups set; not resolved, without its `hydra` part.

        Args:
            parameters: config key or group -> value.

        Raises:
            ConfigError: a group or an option that there is not.
        """
        groups = {key: value for key, value in parameters.items() if key in self.groups}
        config = copy.deepcopy(self._base(groups))
        with read_write(config), open_dict(config):
            for key, value in parameters.items():
                if key not in groups:
                    # An unknown key is added, for the check of the whole to name it.
                    OmegaConf.update(config, key, value, force_add=True)
        return config

    def run_config(self, parameters: Mapping[str, Any]) -> RunConfig:
        """The checked config with some keys or groups set.

        Args:
            parameters: config key or group -> value.

        Raises:
            ConfigError: an unknown key, or a value or combination that makes no sense.
        """
        try:
            return validated(plain(self.compose(parameters)))
        except OmegaConfBaseException as error:
            raise ConfigError(str(error).splitlines()[0]) from None

    def without_fixed(self) -> "Composer":
        """One that knows the script's own defaults only."""
        master = copy.deepcopy(self._master)
        with read_write(master), open_dict(master):
            master.hydra.overrides.hydra = []
        return Composer(self._config_loader, master, ())

    def with_fixed(self, overrides: Sequence[str]) -> "Composer":
        """One with other fixed overrides."""
        return Composer(self._config_loader, self._master, overrides)

    def options(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Which option of each config group is taken with some parameters set."""
        groups = {key: value for key, value in parameters.items() if key in self.groups}
        return {
            group: str(option)
            for group, option in self._load(groups).hydra.runtime.choices.items()
            if option is not None and not group.startswith("hydra/")
        }

    def _base(self, groups: Mapping[str, Any]) -> DictConfig:
        key = tuple(f"{group}={option}" for group, option in groups.items())
        if key not in self._composed:
            config = self._load(groups)
            with read_write(config), open_dict(config):
                for name in NOT_OF_A_RUN:
                    config.pop(name, None)
            self._composed[key] = config
        return self._composed[key]

    def _load(self, groups: Mapping[str, Any]) -> DictConfig:
        overrides = [*self._fixed, *(f"{group}={option}" for group, option in groups.items())]
        try:
            config: DictConfig = self._config_loader.load_sweep_config(self._master, overrides)
        except HydraException as error:
            raise config_error(error, overrides) from None
        return config


def as_overrides(parameters: Mapping[str, Any]) -> list[str]:
    """Parameters as they would be typed.

    Args:
        parameters: config key or group -> value.
    """
    return [f"{key}={_typed(value)}" for key, value in parameters.items()]


def _typed(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return hydra_value(value)
    return repr(value)


def key_value(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key of nested dictionaries.

    Raises:
        KeyError: there is no such key.
    """
    node: Any = config
    for step in key.split("."):
        node = node[step]
    return node


class CornerTrial(FixedTrial):
    """A trial with given parameters; what a hook draws beside them is an end of its range.

    Args:
        params: name -> value.
        last: True: the highest value or last choice; False: the lowest or first.
    """

    def __init__(self, params: Mapping[str, Any], *, last: bool) -> None:
        super().__init__(dict(params))
        self._drawn = dict(params)
        self._last = last

    @property
    def params(self) -> dict[str, Any]:
        """What was given, and what a hook has drawn."""
        return dict(self._drawn)

    def suggest_float(self, name: str, low: float, high: float, **settings: Any) -> float:
        """An end of the range."""
        distribution = FloatDistribution(low, high, **settings)
        return float(self._drawn.setdefault(name, self._end(distribution)))

    def suggest_int(self, name: str, low: int, high: int, **settings: Any) -> int:
        """An end of the range."""
        distribution = IntDistribution(low, high, **settings)
        return int(self._drawn.setdefault(name, self._end(distribution)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The first or the last choice."""
        return self._drawn.setdefault(name, choices[-1 if self._last else 0])

    def _end(self, distribution: IntDistribution | FloatDistribution) -> float:
        return distribution.high if self._last else distribution.low


# Of the machine or of looking on, not of what is trained.
LEFT_OUT = ("logger", "callbacks.progress_bar", "data.root")


def experiment_yaml(composer: Composer, overrides: Mapping[str, Any], comment: str) -> str:
    """A file for conf/experiment that gives the config of a trial.

    It names the options that are not the default's, and sets each key that then still
    differs.

    Args:
        composer: made the trial's config.
        overrides: of the trial: config key or group -> value.
        comment: where this comes from.
    """
    defaults = composer.without_fixed()
    usual = defaults.options({})
    options = {
        group: option
        for group, option in composer.options(overrides).items()
        if group not in ("experiment", "sweep") and option != usual.get(group) and "@" not in group
    }
    wanted = plain(composer.compose(overrides))
    differing = _differing(wanted, plain(defaults.compose(options)))
    lines = [f"# {line}" for line in comment.splitlines()]
    content: dict[str, Any] = {}
    if options:
        content["defaults"] = [
            *({f"override /{group}": option} for group, option in options.items()),
            "_self_",
        ]
    content |= differing
    body = yaml.safe_dump(content, sort_keys=False) if content else ""
    return "\n".join(["# @package _global_", *lines, body])


def _differing(
    wanted: Mapping[str, Any], base: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in wanted.items():
        path = f"{prefix}{key}"
        if path in LEFT_OUT or (key in base and base[key] == value):
            continue
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            inner = _differing(value, base[key], f"{path}.")
            if inner:
                result[key] = inner
        else:
            result[key] = value
    return result

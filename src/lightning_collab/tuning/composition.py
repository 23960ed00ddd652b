"""From the parameters of a trial to the checked config of its run, and back to an experiment."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True)
class Composer:
    """Composes configs of one script that differ in some keys.

    Hydra composes once for each combination of config groups; single keys are set in a copy of
    that, which gives the same config a hundred times faster.

    Attributes:
        config_loader: Hydra's.
        master: the config of the sweep, with its `hydra` part.
        fixed: overrides that all have in common.
    """

    config_loader: Any
    master: DictConfig
    fixed: Sequence[str]
    _composed: dict[tuple[str, ...], DictConfig] = field(default_factory=dict, init=False)

    def compose(self, parameters: Mapping[str, Any]) -> DictConfig:
        """The config with some keys or groups set; not resolved, without its `hydra` part.

        Args:
            parameters: config key or group -> value.

        Raises:
            ConfigError: a group or an option that there is not.
        """
        groups = self._groups(parameters)
        config = copy.deepcopy(self._base(tuple(groups.values())))
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
        master = copy.deepcopy(self.master)
        with read_write(master), open_dict(master):
            master.hydra.overrides.hydra = []
        return replace(self, master=master, fixed=())

    def options(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Which option of each config group is taken with some parameters set."""
        choices = self._load(self._groups(parameters).values()).hydra.runtime.choices
        return {
            group: str(option)
            for group, option in choices.items()
            if option is not None and not group.startswith("hydra/")
        }

    def _groups(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Those parameters that are groups, as overrides."""
        known = dict(self.master.hydra.runtime.choices)
        return {key: f"{key}={value}" for key, value in parameters.items() if key in known}

    def _base(self, groups: tuple[str, ...]) -> DictConfig:
        if groups not in self._composed:
            config = self._load(groups)
            with read_write(config), open_dict(config):
                for name in NOT_OF_A_RUN:
                    config.pop(name, None)
            self._composed[groups] = config
        return self._composed[groups]

    def _load(self, groups: Iterable[str]) -> DictConfig:
        overrides = [*self.fixed, *groups]
        try:
            config: DictConfig = self.config_loader.load_sweep_config(self.master, overrides)
        except HydraException as error:
            raise config_error(error, overrides) from None
        return config


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
LEFT_OUT = ("logger", "callbacks.progress_bar", "callbacks.further", "data.root")
NO_OPTIONS_OF = ("experiment", "sweep", "logger")


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
        if group not in NO_OPTIONS_OF and option != usual.get(group) and "@" not in group
    }
    wanted = plain(composer.compose(overrides))
    differing = _differing(wanted, plain(defaults.compose(options)))
    lines = [f"# {line}" for line in comment.splitlines()]
    taken = [{f"override /{group}": option} for group, option in options.items()]
    content = ({"defaults": [*taken, "_self_"]} if taken else {}) | differing
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

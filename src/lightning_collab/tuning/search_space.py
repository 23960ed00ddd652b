"""The search space: Hydra's sweep grammar as Optuna's distributions, and hooks that add to it."""

import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
)
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from lightning_collab.config import RunConfig
from lightning_collab.config.optimizer import WarmRestartsConfig
from lightning_collab.errors import ConfigError

MOST_GRID_POINTS = 100_000


@dataclass(frozen=True)
class SearchSpace:
    """What is searched and what is fixed.

    Attributes:
        distributions: of each searched config key or group.
        fixed: overrides with one value, as typed.
    """

    distributions: dict[str, BaseDistribution]
    fixed: tuple[str, ...]

    def corners(self) -> list[dict[str, Any]]:
        """Points that show whether every end of the space makes a config.

        All first and all last values together, and each further choice of a categorical
        parameter beside the first values of the others.
        """
        ends = {name: _ends(distribution) for name, distribution in self.distributions.items()}
        first = {name: values[0] for name, values in ends.items()}
        last = {name: values[-1] for name, values in ends.items()}
        others = [{**first, name: value} for name, values in ends.items() for value in values[1:-1]]
        return [first, last, *others]

    def grid(self) -> dict[str, list[Any]]:
        """All values of each parameter, for a grid.

        Raises:
            ConfigError: a parameter has no finite number of them.
        """
        points = {name: _all_values(name, each) for name, each in self.distributions.items()}
        count = math.prod(len(values) for values in points.values())
        if count > MOST_GRID_POINTS:
            raise ConfigError(f"the grid has {count:,} points; at most {MOST_GRID_POINTS:,}")
        return points


def search_space(
    params: Mapping[str, Any], typed: Sequence[str], config_loader: Any
) -> SearchSpace:
    """The space of a study.

    Args:
        params: config key -> sweep in Hydra's grammar (`hydra.sweeper.params`).
        typed: overrides of the command line; they replace those of `params`.
        config_loader: Hydra's, for `glob(...)`.

    Raises:
        ConfigError: a sweep that is not in Hydra's grammar or makes no sense.
    """
    texts = [*(f"{key}={_as_text(value)}" for key, value in params.items()), *typed]
    overrides = {
        override.get_key_element().lstrip("+"): (text, override)
        for text, override in parsed_overrides(texts, config_loader)
    }
    distributions: dict[str, BaseDistribution] = {}
    fixed: list[str] = []
    for key, (text, override) in overrides.items():
        if override.is_sweep_override():
            distributions[key] = _distribution(key, override)
        else:
            fixed.append(text)
    return SearchSpace(distributions, tuple(fixed))


def parsed_overrides(texts: Iterable[str], config_loader: Any) -> Iterator[tuple[str, Override]]:
    """Overrides, each with what Hydra's grammar makes of it.

    Args:
        texts: as typed.
        config_loader: Hydra's, for `glob(...)`.

    Raises:
        ConfigError: an override that is not in Hydra's grammar.
    """
    parser = OverridesParser.create(config_loader=config_loader)
    for text in texts:
        try:
            yield text, parser.parse_override(text)
        except HydraException as error:
            raise ConfigError(f"{text}: {str(error).splitlines()[0]}") from None


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return f"choice({','.join(_as_text(each) for each in value)})"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _distribution(key: str, override: Override) -> BaseDistribution:
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        return _interval(key, sweep)
    if isinstance(sweep, RangeSweep):
        return _range(key, sweep)
    tags = sweep.tags if isinstance(sweep, ChoiceSweep) else set()
    _known_tags(key, tags, ())
    values: list[Any] = [
        value.text if isinstance(value, QuotedString) else value
        for value in override.sweep_iterator()
    ]
    for value in values:
        if not isinstance(value, str | int | float | bool | None):
            raise ConfigError(
                f"{key}: a choice must be a number, a word or a boolean, not {value!r}"
            )
    if not values:
        raise ConfigError(f"{key}: there is nothing to choose from")
    return CategoricalDistribution(list(dict.fromkeys(values)))


def _interval(key: str, sweep: IntervalSweep) -> BaseDistribution:
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    _known_tags(key, sweep.tags, ("log",))
    log = "log" in sweep.tags
    shown = f"interval({low:g}, {high:g})"
    if not low <= high:
        raise ConfigError(f"{key}: {shown} is the wrong way round; use interval({high:g}, {low:g})")
    if log and low <= 0:
        raise ConfigError(f"{key}: tag(log, {shown}) must begin above 0")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(key: str, sweep: RangeSweep) -> BaseDistribution:
    _known_tags(key, sweep.tags, ())
    values = list(sweep.range())
    if not values:
        raise ConfigError(
            f"{key}: range({sweep.start}, {sweep.stop}, {sweep.step}) has no value in it; "
            "it goes from start to below stop"
        )
    first, last = values[0], values[-1]
    if sweep.step < 0:
        first, last = last, first
    step = abs(sweep.step)
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(first), int(last), step=int(step))
    return FloatDistribution(float(first), float(last), step=float(step))


def _known_tags(key: str, tags: set[str], known: tuple[str, ...]) -> None:
    unknown = sorted(tags - set(known))
    if unknown:
        meant = f"known here: {', '.join(known)}" if known else "none is known here"
        raise ConfigError(f"{key}: unknown tag {', '.join(unknown)}; {meant}")


def _ends(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


def _all_values(name: str, distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        steps = round((distribution.high - distribution.low) / distribution.step)
        return [distribution.low + number * distribution.step for number in range(steps + 1)]
    raise ConfigError(
        f"{name}: a grid needs choice(...) or range(...), since an interval has no end of values"
    )


# Takes the trial, whose `params` are drawn and which may `suggest_...` more, and the config of the
# run so far; returns further config keys and their values.
Hook = Callable[[optuna.trial.BaseTrial, RunConfig], Mapping[str, Any]]

LARGEST_CYCLES = 5


def load_hook(name: str | None) -> Hook | None:
    """The function that `hydra.sweeper.hook` names.

    Args:
        name: package.module.function; None: there is none.

    Raises:
        ConfigError: it cannot be imported.
    """
    if name is None:
        return None
    module, _, function = name.rpartition(".")
    try:
        hook: Hook = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"hydra.sweeper.hook={name}: {error}; name a package.module.function of something that "
            "Python can import (PYTHONPATH counts)"
        ) from None
    return hook


def number_of_cycles(trial: optuna.trial.BaseTrial, config: RunConfig) -> dict[str, Any]:
    """Draw how many cycles a run has; the length of the first follows.

    The cycles fill `trainer.max_epochs` exactly, whatever that is, so that every run ends at the
    lowest learning rate: n cycles, each `cycle_mult` times as long as the one before, take
    cycle_len * (mult^n - 1) / (mult - 1) epochs.

    Args:
        trial: of the study; it gets the parameter `cycles`.
        config: of the run.
    """
    cycles = trial.suggest_int("cycles", 1, LARGEST_CYCLES)
    scheduler = config.scheduler
    if not isinstance(scheduler, WarmRestartsConfig):
        raise ConfigError(
            f"scheduler={scheduler.name} has no cycles; set scheduler=warm_restarts, or leave out "
            "the hook with hydra.sweeper.hook=null"
        )
    mult = scheduler.cycle_mult
    firsts = cycles if mult == 1 else (mult**cycles - 1) / (mult - 1)
    return {"scheduler.cycle_len": config.trainer.max_epochs / firsts}

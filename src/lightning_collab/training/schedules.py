"""Learning-rate schedules in closed form: the factor on the rate at any optimizer step."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_collab.config.optimizer import (
    LinearConfig,
    OneCycleConfig,
    SchedulerConfig,
    StepsConfig,
    WarmRestartsConfig,
)
from lightning_collab.errors import ConfigError, shape_of

# From the number of optimizer steps done to the factor on every group's rate.
Schedule = Callable[[int], float]

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class ClosedForm:
    """A schedule that can be asked for one step or for many at once.

    Attributes:
        at: from steps done, float64 [n], to factors, float64 [n].
    """

    at: Callable[[Numbers], Numbers]

    def __call__(self, step: int) -> float:
        """The factor at one step.

        Args:
            step: optimizer steps done.
        """
        return float(self.at(np.array([step], np.float64))[0])


def factors(schedule: Schedule, first: int, steps: int) -> Numbers:
    """The factors at consecutive steps.

    Args:
        schedule: whose.
        first: optimizer steps done before the first of them.
        steps: how many.

    Returns:
        float64 [steps].
    """
    if isinstance(schedule, ClosedForm):
        return schedule.at(np.arange(first, first + steps, dtype=np.float64))
    return np.array([schedule(step) for step in range(first, first + steps)], np.float64)


def build_schedule(
    config: SchedulerConfig, *, lr: float, steps_per_epoch: int, total_steps: int
) -> Schedule:
    """The schedule that a config asks for.

    A closed form has no state: a resumed run, another engine and a figure all ask the same
    function. One factor for all groups keeps the ratios between their rates.

    Args:
        config: the `scheduler` section.
        lr: the optimizer's learning rate, of which `eta_min` is a part.
        steps_per_epoch: optimizer steps in an epoch.
        total_steps: optimizer steps of the whole run.

    Raises:
        ConfigError: a schedule of others gives what no factors can be.
    """

    def at(step: Numbers) -> Numbers:
        found: Numbers = config.factors(
            step, steps_per_epoch=steps_per_epoch, total_steps=total_steps, lr=lr
        )
        return found

    _check(at, total_steps, f"scheduler={config.name}: {type(config).__name__}.factors")
    return ClosedForm(at)


# Steps of a run at which the factors of a schedule are looked at before it begins.
LOOKED_AT = 1000


def _check(at: Callable[[Numbers], Numbers], total: int, method: str) -> None:
    steps = np.unique(np.linspace(0, max(total - 1, 0), LOOKED_AT).round())
    found: object = at(steps)
    if not (
        isinstance(found, np.ndarray) and found.shape == steps.shape and found.dtype.kind == "f"
    ):
        raise ConfigError(
            f"{method} must return a float64 array [n] for n steps; for {len(steps)} it gave "
            f"{shape_of(found)}"
        )
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if len(wrong):
        first = wrong[0]
        raise ConfigError(
            f"{method} must give factors of 0 or above; at step {steps[first]:.0f} of {total} it "
            f"gave {found[first]}"
        )
    middle = len(steps) // 2
    alone = at(steps[middle : middle + 1])
    if not np.allclose(alone, found[middle], rtol=1e-9):
        raise ConfigError(
            f"{method} must depend on each step alone; at step {steps[middle]:.0f} it gave "
            f"{found[middle]} among others and {alone} by itself"
        )


def constant(config: SchedulerConfig, step: Numbers, **run: float) -> Numbers:
    """The same factor at each step, whatever the run."""
    return np.ones_like(step)


def linear(config: LinearConfig, step: Numbers, *, total_steps: int, **run: float) -> Numbers:
    """From 1 at the first step to `end_share` at the last; there it stays."""
    share = np.minimum(step / max(total_steps - 1, 1), 1.0)
    factor: Numbers = 1.0 + (config.end_share - 1.0) * share
    return factor


def warm_restarts(
    config: WarmRestartsConfig, step: Numbers, *, steps_per_epoch: int, total_steps: int, lr: float
) -> Numbers:
    """Cosines from 1 to `eta_min / lr`, the first of `cycle_len` epochs."""
    first = config.cycle_len * steps_per_epoch
    return _between(1.0, config.eta_min / lr, _cycle_share(step, first, config.cycle_mult))


def steps(
    config: StepsConfig, step: Numbers, *, steps_per_epoch: int, total_steps: int, lr: float
) -> Numbers:
    """`gamma` to the power of the milestones that have been passed."""
    milestones = [epoch * steps_per_epoch for epoch in config.milestones]
    passed = np.searchsorted(milestones, step, side="right")
    return np.power(config.gamma, passed.astype(np.float64))


def exponential(start: float, end: float, steps: int) -> Schedule:
    """From one factor to another in equal ratios, as a range test needs it.

    Args:
        start: factor at the first step.
        end: factor at the last.
        steps: how many, at least 2.
    """
    return lambda step: start * math.pow(end / start, step / (steps - 1))


def _cycle_share(step: Numbers, first: float, mult: int) -> Numbers:
    """How far a step is into its cycle, from 0 to 1.

    Args:
        step: optimizer steps done.
        first: steps of the first cycle.
        mult: each cycle is this many times as long as the one before.
    """
    if mult == 1:
        return np.fmod(step, first) / first
    # The first n cycles take first * (mult^n - 1) / (mult - 1) steps.
    cycle = np.floor(np.log(step / first * (mult - 1) + 1) / math.log(mult) + 1e-9)
    length = first * np.power(float(mult), cycle)
    share: Numbers = (step - (length - first) / (mult - 1)) / length
    return share


def _between(high: float, low: float | Numbers, share: Numbers) -> Numbers:
    """From high to low along half a cosine.

    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", eq. 5.
    """
    return low + (high - low) * (1 + np.cos(math.pi * share)) / 2


def one_cycle(
    config: OneCycleConfig, step: Numbers, *, steps_per_epoch: int, total_steps: int, lr: float
) -> Numbers:
    """Smith and Topin (2018), "Super-convergence", with cosines for both ways as fastai has it."""
    last = total_steps - 1
    start = 1 / config.start_div
    peak = config.warm_up * (last + 1) - 1
    rising = step <= peak
    # The way up is a way down that is walked backwards, so that one cosine does for both.
    up = 1 - step / (peak if peak > 0 else 1.0)
    down = np.minimum((step - peak) / (last - peak), 1.0)
    low = np.where(rising, start, start / config.end_div)
    factor: Numbers = _between(1.0, low, np.where(rising, up, down))
    return factor

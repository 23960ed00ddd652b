"""Learning-rate schedules in closed form: the factor on the rate at any optimiser step."""

import math
from bisect import bisect_right
from collections.abc import Callable

from lightning_collab.config.scheduler import (
    ConstantConfig,
    OneCycleConfig,
    Scheduler,
    StepsConfig,
    WarmRestartsConfig,
)

Schedule = Callable[[int], float]
"""From the number of optimiser steps done to the factor on every group's rate."""


def build_schedule(
    config: Scheduler, *, lr: float, steps_per_epoch: int, max_epochs: int
) -> Schedule:
    """The schedule that a config asks for.

    A closed form has no state: a resumed run, another engine and a figure all ask the same
    function. One factor for all groups keeps the ratios between their rates.

    Args:
        config: the `scheduler` section.
        lr: the optimiser's learning rate, of which `eta_min` is a part.
        steps_per_epoch: optimiser steps in an epoch.
        max_epochs: epochs of the whole run.
    """
    match config:
        case ConstantConfig():
            return lambda step: 1.0
        case WarmRestartsConfig():
            first = config.cycle_len * steps_per_epoch
            floor = config.eta_min / lr
            return lambda step: _between(1.0, floor, _cycle_share(step, first, config.cycle_mult))
        case OneCycleConfig():
            last = steps_per_epoch * max_epochs - 1
            return lambda step: _one_cycle(step, last, config)
        case StepsConfig():
            milestones = [epoch * steps_per_epoch for epoch in config.milestones]
            return lambda step: math.pow(config.gamma, bisect_right(milestones, step))


def exponential(start: float, end: float, steps: int) -> Schedule:
    """From one factor to another in equal ratios, as a range test needs it.

    Args:
        start: factor at the first step.
        end: factor at the last.
        steps: how many, at least 2.
    """
    return lambda step: start * math.pow(end / start, step / (steps - 1))


def _cycle_share(step: int, first: float, mult: int) -> float:
    """How far a step is into its cycle, from 0 to 1.

    Args:
        step: optimiser steps done.
        first: steps of the first cycle.
        mult: each cycle is this many times as long as the one before.
    """
    if mult == 1:
        return math.fmod(step, first) / first
    # The first n cycles take first * (mult^n - 1) / (mult - 1) steps.
    cycle = int(math.log(step / first * (mult - 1) + 1, mult) + 1e-9)
    start = first * (math.pow(mult, cycle) - 1) / (mult - 1)
    return (step - start) / (first * math.pow(mult, cycle))


def _between(high: float, low: float, share: float) -> float:
    """From high to low along half a cosine.

    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", eq. 5.
    """
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


def _one_cycle(step: int, last: int, config: OneCycleConfig) -> float:
    """Smith and Topin (2018), "Super-convergence", with cosines for both ways as fastai has it."""
    start = 1 / config.start_div
    peak = config.warm_up * (last + 1) - 1
    if step <= peak:
        return _between(start, 1.0, step / peak)
    return _between(1.0, start / config.end_div, min(1.0, (step - peak) / (last - peak)))

"""Learning-rate schedules in closed form: the factor on the rate at any optimiser step."""

import math
from collections.abc import Callable

from lightning_collab.config.scheduler import Scheduler, WarmRestartsConfig

Schedule = Callable[[int], float]
"""From the number of optimiser steps done to the factor on every group's rate."""


def build_schedule(config: Scheduler, *, lr: float, steps_per_epoch: int) -> Schedule:
    """The schedule that a config asks for.

    A closed form has no state: a resumed run, another engine and a figure all ask the same
    function. One factor for all groups keeps the ratios between their rates.

    Args:
        config: the `scheduler` section.
        lr: the optimiser's learning rate, of which `eta_min` is a part.
        steps_per_epoch: optimiser steps in an epoch.
    """
    match config:
        case WarmRestartsConfig():
            first = config.cycle_len * steps_per_epoch
            floor = config.eta_min / lr
            return lambda step: _cosine(*cycle_position(step, first, config.cycle_mult), floor)
        case _:
            return lambda step: 1.0


def cycle_position(step: int, first: float, mult: int) -> tuple[float, float]:
    """How far a step is into its cycle, and how long that cycle is, both in steps.

    Args:
        step: optimiser steps done.
        first: steps of the first cycle.
        mult: each cycle is this many times as long as the one before.
    """
    if mult == 1:
        return math.fmod(step, first), first
    # The first n cycles take first * (mult^n - 1) / (mult - 1) steps.
    cycle = int(math.log(step / first * (mult - 1) + 1, mult) + 1e-9)
    start = first * (mult**cycle - 1) / (mult - 1)
    return step - start, first * mult**cycle


def _cosine(position: float, length: float, floor: float) -> float:
    """Loshchilov and Hutter (2017), "SGDR", equation 5, as a factor on the highest rate."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * position / length)) / 2

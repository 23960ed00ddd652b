"""The curves of a run, read back from TensorBoard's event files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

RATE_PREFIX = "lr-"
"""What Lightning's LearningRateMonitor puts before the names of optimiser and group."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One scalar over the run.

    Attributes:
        steps: int64 [n], optimiser steps done.
        values: float64 [n].
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def read_curves(logdir: Path) -> dict[str, Curve]:
    """All scalars of a run by their tags; of a step that was logged twice the later value.

    Args:
        logdir: where the event files are; where there are none, the result is empty.
    """
    if not any(logdir.glob("events.out.tfevents.*")):
        return {}
    accumulator = EventAccumulator(str(logdir), size_guidance={"scalars": 0})
    accumulator.Reload()
    curves = {}
    for tag in accumulator.Tags()["scalars"]:
        latest = {event.step: event.value for event in accumulator.Scalars(tag)}
        steps = np.array(sorted(latest), dtype=np.int64)
        curves[tag] = Curve(steps, np.array([latest[int(step)] for step in steps]))
    return curves


def rates(curves: dict[str, Curve]) -> dict[str, Curve]:
    """The learning rate of each parameter group, by the group's name.

    Args:
        curves: from `read_curves`.
    """
    return {
        tag.removeprefix(RATE_PREFIX).partition("/")[2] or tag.removeprefix(RATE_PREFIX): curve
        for tag, curve in curves.items()
        if tag.startswith(RATE_PREFIX)
    }

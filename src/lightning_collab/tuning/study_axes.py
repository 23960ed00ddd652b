"""Axes of parameters, on the scales that they were drawn on."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution


def turned(count: int) -> dict[str, Any]:
    """How labels stand, so that they do not run into one another.

    Args:
        count: of labels.
    """
    if count < 5:
        return {}
    return {"rotation": 25, "ha": "right", "rotation_mode": "anchor"}


def _is_log(how: BaseDistribution) -> bool:
    return bool(getattr(how, "log", False))


def position(how: BaseDistribution, value: Any) -> float:
    """Where a value is on an axis: itself, or the number of a choice.

    Args:
        how: it was drawn.
        value: of the parameter.
    """
    return how.to_internal_repr(value) if isinstance(how, CategoricalDistribution) else float(value)


def _ends(how: Any) -> tuple[float, float]:
    if isinstance(how, CategoricalDistribution):
        return 0.0, float(len(how.choices) - 1)
    return float(how.low), float(how.high)


def height(how: BaseDistribution, value: Any) -> float:
    """A value between the ends of what it was drawn from, 0 to 1, by the scale it was drawn on.

    Args:
        how: it was drawn.
        value: of the parameter.
    """
    low, high = _ends(how)
    at = position(how, value)
    if _is_log(how):
        low, high, at = np.log(low), np.log(high), np.log(at)
    return (at - low) / (high - low) if high > low else 0.5


def heights(how: Any) -> list[tuple[float, str]]:
    """Of an axis that stands upright, heights with what is written there.

    Args:
        how: the parameter was drawn.
    """
    if isinstance(how, CategoricalDistribution):
        return [(height(how, each), str(each)) for each in how.choices]
    low, high = _ends(how)
    middle = np.sqrt(low * high) if _is_log(how) else (low + high) / 2
    form = ".0f" if isinstance(how, IntDistribution) else ".2g"
    texts = {f"{each:{form}}": height(how, each) for each in (low, middle, high)}
    return [(at, text) for text, at in texts.items()]


def scale_axis(axes: Axes, how: Any) -> None:
    """Scale and ticks of a horizontal axis.

    Args:
        axes: of the picture.
        how: the parameter was drawn.
    """
    low, high = _ends(how)
    if isinstance(how, CategoricalDistribution):
        texts = [str(each) for each in how.choices]
        axes.set_xticks(range(len(texts)), texts, fontsize=8, **turned(len("".join(texts)) // 4))
        axes.set_xlim(low - 0.5, high + 0.5)
    elif _is_log(how):
        decades = np.log10(high / low)
        steps = (1, 2, 5) if decades < 1.3 else (1, 3) if decades < 1.9 else (1,)
        axes.set_xscale("log")
        edge = 10 ** (0.06 * decades)
        axes.set_xlim(low / edge, high * edge)
        axes.xaxis.set_major_locator(LogLocator(subs=steps))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=isinstance(how, IntDistribution)))

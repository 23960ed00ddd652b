"""The pictures of a study: names that can be read, axes as the parameters were drawn."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from lightning_collab.runs.directory import short_keys
from lightning_collab.runs.drawing import (
    COLORS,
    GREY,
    INK,
    PAPER,
    SCALE,
    STYLE,
    save_png,
    svg_address,
)
from lightning_collab.tuning.study_axes import height, heights, position, scale_axis, turned

log = logging.getLogger(__name__)

FEWEST = 2
# Below, importances of parameters are mostly chance.
TRUSTED = 30
DOTS_PER_INCH = 120


class StudyFigure(NamedTuple):
    """A picture and what it shows.

    Attributes:
        path: of the PNG.
        title: a few words.
        caption: how to read it.
        uri: the picture itself, for a page that loads nothing.
        warning: why not to trust it; empty where there is no reason.
    """

    path: Path
    title: str
    caption: str
    uri: str
    warning: str


class Drawn(NamedTuple):
    """What pictures of one objective are made of.

    Attributes:
        trials: complete ones, in their order.
        values: float64 [n], their objective.
        name: of the objective.
        minimize: whether less is better.
        parameters: how each is drawn, by its key.
        short: what to call each.
    """

    trials: list[FrozenTrial]
    values: np.ndarray[Any, np.dtype[np.float64]]
    name: str
    minimize: bool
    parameters: dict[str, BaseDistribution]
    short: dict[str, str]

    @property
    def best(self) -> int:
        """Position of the best trial."""
        return int(self.values.argmin() if self.minimize else self.values.argmax())


def draw_study(study: optuna.Study, objectives: list[str], folder: Path) -> list[StudyFigure]:
    """Draw what there is to see of a study; what needs more trials than there are is left out.

    Args:
        study: with at least one trial.
        objectives: the metrics.
        folder: for the files; it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST:
        return []
    figures = []
    for name, title, draw in _wanted(study, complete, objectives):
        kind = name.split("-")[0]
        try:
            with rc_context(STYLE), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                figure = draw()
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            # Such as the importance of parameters where all trials have the same value.
            log.info("no picture %s: %s", name, error)
            continue
        warning = few_trials(len(complete)) if kind == "importance" else ""
        path, address = folder / f"{name}.png", svg_address(figure)
        # On the page it is text; a picture alone has to say it itself.
        figure.axes[0].set_title(warning, loc="left", color=COLORS[2], fontweight="bold")
        save_png(figure, path, DOTS_PER_INCH)
        figures.append(StudyFigure(path, title, CAPTIONS[kind], address, warning))
    return figures


CAPTIONS = {
    "history": "Each dot is a completed trial; the line is the best so far.",
    "importance": "How much of the difference between good trials and the others each explains "
    "(PED-ANOVA, Watanabe et al. 2023).",
    "parallel": "Each line is a completed trial, through the values of its parameters; the thick "
    "one is the best.",
    "slices": "The objective over each parameter alone, from early trials (blue) to late ones. The "
    "ring is the best trial.",
    "learning_curves": "The objective after each epoch; a line that ends early was pruned.",
    "pareto_front": "Trials that no other beats in every objective.",
}


def few_trials(complete: int) -> str:
    """A warning where so few trials say little of parameters; else empty.

    Args:
        complete: how many have ended by themselves, with a value.
    """
    return "" if complete >= TRUSTED else f"{complete} trials: too few to trust importances"


def _wanted(
    study: optuna.Study, complete: list[FrozenTrial], objectives: list[str]
) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """Of each picture the name, the title and what draws it."""
    parameters = {key: how for trial in complete for key, how in trial.distributions.items()}
    single = len(objectives) == 1
    of_each = []
    for number, objective in enumerate(objectives):
        suffix, ending = ("", "") if single else (f" of {objective}", f"-{number + 1}")
        drawn = Drawn(
            complete,
            np.array([trial.values[number] for trial in complete]),
            objective,
            study.directions[number] == optuna.study.StudyDirection.MINIMIZE,
            parameters,
            short_keys(parameters),
        )
        of_each.append(drawn)
        yield f"history{ending}", f"Optimization history{suffix}", partial(_history, drawn)
        if not parameters:
            continue
        # Optuna wants no target where there is one objective.
        target = None if single else partial(_value, number)
        importances = partial(_importances, study, drawn, target)
        yield f"importance{ending}", f"Importance of each parameter{suffix}", importances
        yield f"parallel{ending}", f"Parallel coordinates{suffix}", partial(_parallel, drawn)
        yield f"slices{ending}", f"Slices{suffix}", partial(_slices, drawn)
    if single:
        yield "learning_curves", "Learning curves", partial(_curves, study, of_each[0])
    else:
        yield "pareto_front", "Pareto front", partial(_pareto, study, of_each)


def _value(number: int, trial: FrozenTrial) -> float:
    return float(trial.values[number])


def _history(drawn: Drawn) -> Figure:
    figure, axes = _figure(7, 3.4)
    numbers = [trial.number for trial in drawn.trials]
    so_far = (np.minimum if drawn.minimize else np.maximum).accumulate(drawn.values)
    axes.scatter(numbers, drawn.values, s=22, color=COLORS[0], label="trial")
    axes.step(numbers, so_far, where="post", color=COLORS[2], label="best so far")
    axes.set(xlabel="trial", ylabel=drawn.name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    return figure


def _importances(study: optuna.Study, drawn: Drawn, target: Any) -> Figure:
    found = optuna.importance.get_param_importances(study, target=target)
    ordered = sorted(found, key=lambda key: found[key])
    figure, axes = _figure(7, 1.2 + 0.32 * len(ordered))
    shares = [found[key] for key in ordered]
    # Pale and hatched where it is not to be trusted.
    pale: dict[str, Any] = {"alpha": 0.45, "hatch": "////"} if few_trials(len(drawn.trials)) else {}
    bars = axes.barh([drawn.short[key] for key in ordered], shares, color=COLORS[0], **pale)
    axes.bar_label(bars, [f" {share:.0%}" for share in shares], fontsize=8)
    axes.set(xlabel=f"share of {drawn.name} explained", xlim=(0, 1.12 * max(shares)))
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    return figure


def _parallel(drawn: Drawn) -> Figure:
    keys = list(drawn.parameters)
    figure, axes = _figure(max(7.0, 1.35 * len(keys) + 1.5), 4.0)
    low, span = drawn.values.min(), np.ptp(drawn.values) or 1.0
    best = drawn.best
    for number in [*(n for n in np.argsort(-drawn.values) if n != best), best]:
        values = drawn.trials[number].params
        at = [n for n, key in enumerate(keys) if key in values]
        at_heights = [height(drawn.parameters[keys[n]], values[keys[n]]) for n in at]
        width = 2.8 if number == best else 1.0
        color = SCALE((drawn.values[number] - low) / span)
        axes.plot(at, at_heights, color=color, linewidth=width, linestyle="-", alpha=0.85)
    for n, key in enumerate(keys):
        axes.axvline(n, color=INK, linewidth=0.8)
        for up, text in heights(drawn.parameters[key]):
            box: dict[str, Any] = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.8}
            axes.text(n + 0.04, up, text, fontsize=8, va="center", bbox=box)
    axes.set_xticks(range(len(keys)), [drawn.short[key] for key in keys], **turned(len(keys)))
    axes.set(yticks=[], xlim=(-0.1, len(keys) - 0.5), ylim=(-0.05, 1.05))
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    _color_bar(figure, axes, low, low + span, drawn.name)
    return figure


def _slices(drawn: Drawn) -> Figure:
    keys = list(drawn.parameters)
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(2.7 * columns + 0.9, 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, key in zip(grid.flat, keys, strict=False):
        had = [n for n, trial in enumerate(drawn.trials) if key in trial.params]
        how = drawn.parameters[key]
        values = [position(how, drawn.trials[n].params[key]) for n in had]
        numbers = [drawn.trials[n].number for n in had]
        last = drawn.trials[-1].number
        axes.scatter(values, drawn.values[had], c=numbers, cmap=SCALE, s=24, vmin=0, vmax=last)
        if drawn.best in had:
            at = values[had.index(drawn.best)], drawn.values[drawn.best]
            axes.scatter(*at, s=90, facecolors="none", edgecolors=INK, linewidths=1.2)
        scale_axis(axes, how)
        axes.set_xlabel(drawn.short[key])
    for axes in grid.flat[len(keys) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(drawn.name)
    _color_bar(figure, list(grid.flat[: len(keys)]), 0, drawn.trials[-1].number, "trial")
    return figure


def _curves(study: optuna.Study, drawn: Drawn) -> Figure:
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.intermediate_values]
    if not trials:
        raise ValueError("no trial has reported an epoch")
    figure, axes = _figure(7, 3.6)
    best = drawn.trials[drawn.best].number
    looks: dict[str, dict[str, Any]] = {
        "complete": {"color": COLORS[0], "alpha": 0.75, "linestyle": "-"},
        "pruned": {"color": GREY, "linestyle": "--"},
        f"best: trial {best}": {"color": COLORS[2], "linewidth": 2.4, "linestyle": "-"},
    }
    complete, pruned, winner = looks
    named = set()
    for trial in sorted(trials, key=lambda trial: trial.number == best):
        kind = complete if trial.state == TrialState.COMPLETE else pruned
        kind = winner if trial.number == best else kind
        epochs, values = zip(*sorted(trial.intermediate_values.items()), strict=True)
        label = None if kind in named else kind
        axes.plot(
            epochs, values, marker="." if len(epochs) == 1 else None, label=label, **looks[kind]
        )
        named.add(kind)
    axes.set(xlabel="epoch", ylabel=drawn.name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    return figure


def _pareto(study: optuna.Study, of_each: Sequence[Drawn]) -> Figure:
    pairs = list(combinations(of_each, 2))
    front = {trial.number for trial in study.best_trials}
    mine = np.array([trial.number in front for trial in of_each[0].trials])
    figure = Figure(figsize=(max(6.0, 3.6 * len(pairs)), 3.8), layout="constrained")
    for axes, (x, y) in zip(figure.subplots(1, len(pairs), squeeze=False).flat, pairs, strict=True):
        axes.scatter(x.values[~mine], y.values[~mine], s=22, color=GREY, label="beaten")
        axes.scatter(x.values[mine], y.values[mine], s=36, color=COLORS[2], label="on the front")
        axes.set(xlabel=x.name, ylabel=y.name)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _color_bar(figure: Figure, axes: Any, low: float, high: float, label: str) -> None:
    figure.colorbar(ScalarMappable(Normalize(low, high), SCALE), ax=axes, label=label)

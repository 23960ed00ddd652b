"""Pictures of a study, as PNG."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import optuna
from matplotlib import pyplot as plt
from optuna.trial import TrialState

log = logging.getLogger(__name__)

FEWEST = 2
DOTS_PER_INCH = 100
INCHES_PER_PARAMETER = {"parallel": 2.0, "slices": 3.4}


class StudyFigure(NamedTuple):
    """A picture and what it shows.

    Attributes:
        path: of the PNG.
        title: a few words.
        caption: how to read it.
    """

    path: Path
    title: str
    caption: str


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
    names = {name for trial in complete for name in trial.params}
    figures = []
    with _without_window():
        for name, title, caption, draw in _wanted(study, objectives):
            try:
                drawn = draw()
            except (ValueError, RuntimeError, ZeroDivisionError) as error:
                # Such as the importance of parameters where all trials have the same value.
                log.info("no picture %s: %s", name, error)
                continue
            path = folder / f"{name}.png"
            _save(drawn, path, len(names))
            figures.append(StudyFigure(path, title, caption))
    return figures


def _wanted(
    study: optuna.Study, objectives: list[str]
) -> Iterator[tuple[str, str, str, Callable[[], Any]]]:
    visual = optuna.visualization.matplotlib
    single = len(objectives) == 1
    for number, objective in enumerate(objectives):
        suffix = "" if single else f" of {objective}"
        ending = "" if single else f"-{number + 1}"

        def target(trial: Any, number: int = number) -> float:
            return float(trial.values[number])

        # Optuna's functions want no target where there is one objective.
        named: dict[str, Any] = {"target": None if single else target, "target_name": objective}
        yield (
            f"history{ending}",
            f"Optimisation history{suffix}",
            "Each dot is a completed trial; the line is the best so far.",
            partial(visual.plot_optimization_history, study, **named),
        )
        yield (
            f"importance{ending}",
            f"Importance of each parameter{suffix}",
            "How much of the difference between good trials and the others each explains "
            "(PED-ANOVA, Watanabe et al. 2023).",
            partial(visual.plot_param_importances, study, **named),
        )
        yield (
            f"parallel{ending}",
            f"Parallel coordinates{suffix}",
            "Each line is a completed trial, through the values of its parameters.",
            partial(visual.plot_parallel_coordinate, study, **named),
        )
        yield (
            f"slices{ending}",
            f"Slices{suffix}",
            "The objective over each parameter alone; later trials are darker.",
            partial(visual.plot_slice, study, **named),
        )
    if single:
        yield (
            "learning_curves",
            "Learning curves",
            "The objective after each epoch; a line that ends early was pruned.",
            partial(visual.plot_intermediate_values, study),
        )
    elif len(objectives) in (2, 3):
        yield (
            "pareto_front",
            "Pareto front",
            "Trials that no other beats in every objective.",
            partial(visual.plot_pareto_front, study, target_names=objectives),
        )


def _save(drawn: Any, path: Path, parameters: int) -> None:
    axes = drawn if hasattr(drawn, "figure") else next(iter(drawn.flat))
    figure = axes.figure
    kind = path.stem.split("-")[0]
    if kind == "learning_curves":
        axes.legend().remove()
    # Optuna gives all pictures one size, whatever the number of parameters.
    if kind in INCHES_PER_PARAMETER:
        figure.set_size_inches(max(8.0, INCHES_PER_PARAMETER[kind] * parameters), 5.0)
    figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight")
    plt.close(figure)


@contextmanager
def _without_window() -> Iterator[None]:
    """Draw with the backend that needs no display, and leave pyplot as it was."""
    before = mpl.get_backend()
    with warnings.catch_warnings(), plt.rc_context():
        warnings.simplefilter("ignore")
        plt.switch_backend("Agg")
        try:
            yield
        finally:
            plt.close("all")
            plt.switch_backend(before)

"""A study as one page, as pictures, and on TensorBoard's HParams page."""

import base64
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import optuna
from matplotlib import pyplot as plt
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from lightning_collab.errors import ConfigError
from lightning_collab.runs.atomic_write import write_atomically
from lightning_collab.runs.templates import filled_in
from lightning_collab.tuning.storage import JOURNAL_FILE
from lightning_collab.tuning.study_identity import read_study_file
from lightning_collab.tuning.trials import (
    OVERRIDES,
    Progress,
    PruningSaved,
    as_csv,
    best_reported,
    epochs_run,
    trial_rows,
)

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
            f"Optimization history{suffix}",
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


PAGE = "report.html"
FIGURES = "figures"
TRIALS_FILE = "trials.csv"
WINNER = "winner"


def write_study_report(sweep_dir: Path) -> Path:
    """Make page, pictures, table and TensorBoard files of a study anew from its sweep directory.

    Nothing else is needed: neither the server on which a study was kept, nor its trials' runs.

    Args:
        sweep_dir: of a study that has ended, or of one in a journal file at any time.

    Returns:
        The path of the page.

    Raises:
        ConfigError: no study ran there, or it is kept elsewhere and has not ended.
    """
    about = read_study_file(sweep_dir)
    study = _study_in(sweep_dir, about)
    objectives: list[str] = about["objectives"]
    trials = study.get_trials(deepcopy=False)
    rows = trial_rows(trials, objectives, about["directions"])
    write_atomically(sweep_dir / TRIALS_FILE, as_csv(rows))
    figures = draw_study(study, objectives, sweep_dir / FIGURES)
    write_hparams(trials, objectives, about["directions"], sweep_dir / FOLDER)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = study.best_trials if complete else []
    page = filled_in(
        "lightning_collab.tuning",
        "study.html.j2",
        about=about,
        version=version("lightning-collab"),
        progress=Progress.of(trials),
        saved=PruningSaved.of(trials),
        objectives=objectives,
        best=sorted(best, key=lambda trial: trial.number),
        winner=study.user_attrs.get(WINNER),
        header=list(rows[0]) if rows else [],
        rows=[[_cell(value) for value in row.values()] for row in rows],
        figures=[_embedded(figure) for figure in figures],
    )
    write_atomically(sweep_dir / PAGE, page)
    return sweep_dir / PAGE


def _study_in(sweep_dir: Path, about: dict[str, Any]) -> optuna.Study:
    file = sweep_dir / JOURNAL_FILE
    if not file.is_file():
        raise ConfigError(
            f"{sweep_dir}: the study is kept in {about['storage']}, and its copy is made when it "
            "has ended; run the same command again to end it"
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(file)))
    return optuna.load_study(study_name=about["study_name"], storage=storage)


def _embedded(figure: StudyFigure) -> dict[str, str]:
    data = base64.b64encode(figure.path.read_bytes()).decode()
    return {
        "uri": f"data:image/png;base64,{data}",
        "title": figure.title,
        "caption": figure.caption,
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


FOLDER = "tensorboard"


def write_hparams(
    trials: Sequence[FrozenTrial],
    objectives: Sequence[str],
    directions: Sequence[str],
    folder: Path,
) -> None:
    """Write one small event file a trial: its parameters, its curve and its result.

    Files of an earlier call are replaced. A pruned trial has its best epoch as its result.

    Args:
        trials: of a study.
        objectives: the metrics.
        directions: `minimize` or `maximize`, one for each.
        folder: where `trial-<number>` go.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for trial in trials:
        values = _results(trial, objectives, directions)
        if values:
            _write(trial, objectives, values, folder / f"trial-{trial.number:04d}")


def _results(
    trial: FrozenTrial, objectives: Sequence[str], directions: Sequence[str]
) -> dict[str, float]:
    if trial.state == TrialState.COMPLETE and trial.values is not None:
        return dict(zip(objectives, trial.values, strict=True))
    best = best_reported(trial, directions[0])
    if trial.state == TrialState.PRUNED and best is not None:
        return {objectives[0]: best}
    return {}


def _write(
    trial: FrozenTrial, objectives: Sequence[str], values: dict[str, float], folder: Path
) -> None:
    parameters: dict[str, Any] = {
        key: value if value is not None else "null"
        for key, value in {**trial.user_attrs.get(OVERRIDES, {}), **trial.params}.items()
    }
    parameters["state"] = trial.state.name.lower()
    results = {f"study/{name.replace('/', '_')}": value for name, value in values.items()}
    with SummaryWriter(str(folder)) as writer:
        for summary in hparams(parameters, results):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        for name, value in results.items():
            writer.add_scalar(name, value, epochs_run(trial))
        for epoch, value in trial.intermediate_values.items():
            writer.add_scalar(objectives[0], value, epoch)

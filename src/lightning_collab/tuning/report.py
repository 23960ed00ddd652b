"""A study as one page, as pictures, and on TensorBoard's HParams page."""

import base64
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import optuna
from matplotlib import pyplot as plt
from optuna.trial import FrozenTrial, TrialState
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from lightning_collab.errors import ConfigError
from lightning_collab.runs.atomic_write import write_atomically
from lightning_collab.runs.templates import filled_in
from lightning_collab.tuning.storage import JOURNAL_FILE, StorageURL
from lightning_collab.tuning.study_identity import read_study_file
from lightning_collab.tuning.trials import (
    Attribute,
    Progress,
    PruningSaved,
    as_csv,
    best_reported,
    epochs_run,
    results,
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

    @property
    def uri(self) -> str:
        """The picture itself, for a page that loads nothing."""
        return f"data:image/png;base64,{base64.b64encode(self.path.read_bytes()).decode()}"


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


CAPTIONS = {
    "history": "Each dot is a completed trial; the line is the best so far.",
    "importance": "How much of the difference between good trials and the others each explains "
    "(PED-ANOVA, Watanabe et al. 2023).",
    "parallel": "Each line is a completed trial, through the values of its parameters.",
    "slices": "The objective over each parameter alone; later trials are darker.",
    "learning_curves": "The objective after each epoch; a line that ends early was pruned.",
    "pareto_front": "Trials that no other beats in every objective.",
}


def _wanted(
    study: optuna.Study, objectives: list[str]
) -> Iterator[tuple[str, str, str, Callable[[], Any]]]:
    """Of each picture the name, the title, the caption, and what draws it."""
    visual = optuna.visualization.matplotlib
    of_each_objective: dict[str, tuple[str, Callable[..., Any]]] = {
        "history": ("Optimization history", visual.plot_optimization_history),
        "importance": ("Importance of each parameter", visual.plot_param_importances),
        "parallel": ("Parallel coordinates", visual.plot_parallel_coordinate),
        "slices": ("Slices", visual.plot_slice),
    }
    single = len(objectives) == 1
    for number, objective in enumerate(objectives):
        suffix = "" if single else f" of {objective}"
        ending = "" if single else f"-{number + 1}"

        def target(trial: Any, number: int = number) -> float:
            return float(trial.values[number])

        # Optuna's functions want no target where there is one objective.
        named: dict[str, Any] = {"target": None if single else target, "target_name": objective}
        for name, (title, plot) in of_each_objective.items():
            draw = partial(plot, study, **named)
            yield f"{name}{ending}", f"{title}{suffix}", CAPTIONS[name], draw
    if single:
        draw = partial(visual.plot_intermediate_values, study)
        yield "learning_curves", "Learning curves", CAPTIONS["learning_curves"], draw
    elif len(objectives) in (2, 3):
        draw = partial(visual.plot_pareto_front, study, target_names=objectives)
        yield "pareto_front", "Pareto front", CAPTIONS["pareto_front"], draw


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
    write_hparams(trials, about, sweep_dir / FOLDER)
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
        winner_keys=_shown_of_winner(objectives[0]),
        header=list(rows[0]) if rows else [],
        rows=[[_cell(value) for value in row.values()] for row in rows],
        figures=figures,
    )
    write_atomically(sweep_dir / PAGE, page)
    return sweep_dir / PAGE


def _shown_of_winner(objective: str) -> list[str]:
    """Errors of ratings, and what the winner was chosen by; of each part, as far as measured."""
    names = dict.fromkeys(("rmse", "mae", objective.removeprefix("val/")))
    return [f"{part}/{name}" for part in ("val", "test") for name in names]


def _study_in(sweep_dir: Path, about: dict[str, Any]) -> optuna.Study:
    file = sweep_dir / JOURNAL_FILE
    if not file.is_file():
        raise ConfigError(
            f"{sweep_dir}: the study is kept in {about['storage']}, and its copy is made when it "
            "has ended; run the same command again to end it"
        )
    return optuna.load_study(study_name=about["study_name"], storage=StorageURL(str(file)).open())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


FOLDER = "tensorboard"


def write_hparams(trials: Sequence[FrozenTrial], about: Mapping[str, Any], folder: Path) -> None:
    """Write one small event file a trial: its parameters, its curve and its result.

    Files of an earlier call are replaced. A pruned trial has its best epoch as its result.

    Args:
        trials: of a study.
        about: the study, as in its file.
        folder: where `trial-<number>` go.
    """
    shutil.rmtree(folder, ignore_errors=True)
    objective = about["objectives"][0]
    for trial in trials:
        values = results(trial, about["objectives"])
        best = best_reported(trial, about["directions"][0])
        if trial.state == TrialState.PRUNED and best is not None:
            values = {objective: best}
        if values:
            _write(trial, objective, values, folder / f"trial-{trial.number:04d}")


def _write(trial: FrozenTrial, objective: str, values: dict[str, float], folder: Path) -> None:
    drawn_and_derived = trial.user_attrs.get(Attribute.OVERRIDES, {}) | trial.params
    parameters = {key: "null" if each is None else each for key, each in drawn_and_derived.items()}
    parameters["state"] = trial.state.name.lower()
    named = {f"study/{name.replace('/', '_')}": value for name, value in values.items()}
    with SummaryWriter(str(folder)) as writer:
        for summary in hparams(parameters, named):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        for name, value in named.items():
            writer.add_scalar(name, value, epochs_run(trial))
        for epoch, value in trial.intermediate_values.items():
            writer.add_scalar(objective, value, epoch)

"""A study as one page, as pictures, and on TensorBoard's HParams page."""

import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from lightning_collab.errors import ConfigError
from lightning_collab.runs.files import write_atomically
from lightning_collab.runs.text import filled_in
from lightning_collab.tuning.storage import JOURNAL_FILE, StorageURL
from lightning_collab.tuning.study_figures import draw_study
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

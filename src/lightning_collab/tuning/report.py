"""One page about a study: what was tried, what mattered, what pruning saved."""

import base64
from pathlib import Path
from typing import Any

import optuna
from jinja2 import Environment, PackageLoader, StrictUndefined
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from lightning_collab import __version__
from lightning_collab.errors import ConfigError
from lightning_collab.training.whole_file import write_whole
from lightning_collab.tuning.figures import StudyFigure, draw_study
from lightning_collab.tuning.hparams import FOLDER, write_hparams
from lightning_collab.tuning.pruning_saved import PruningSaved
from lightning_collab.tuning.storage import JOURNAL_FILE
from lightning_collab.tuning.study_file import read_study_file
from lightning_collab.tuning.trials import Progress
from lightning_collab.tuning.trials_table import as_csv, trial_rows

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
    write_whole(sweep_dir / TRIALS_FILE, as_csv(rows))
    figures = draw_study(study, objectives, sweep_dir / FIGURES)
    write_hparams(trials, objectives, about["directions"], sweep_dir / FOLDER)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = study.best_trials if complete else []
    page = _render(
        "study.html.j2",
        about=about,
        version=__version__,
        progress=Progress.of(trials),
        saved=PruningSaved.of(trials),
        objectives=objectives,
        best=sorted(best, key=lambda trial: trial.number),
        winner=study.user_attrs.get(WINNER),
        header=list(rows[0]) if rows else [],
        rows=[[_cell(value) for value in row.values()] for row in rows],
        figures=[_embedded(figure) for figure in figures],
    )
    write_whole(sweep_dir / PAGE, page)
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


def _render(template: str, **content: Any) -> str:
    environment = Environment(
        loader=PackageLoader("lightning_collab.tuning"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)

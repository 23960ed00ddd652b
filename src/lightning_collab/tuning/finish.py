"""The end of a study: its table, its best config, the winner tested once, and its page."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lightning_collab.errors import TrainingError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import write_atomically
from lightning_collab.runs.invocation import command_line, module_command, quoted, tensorboard_line
from lightning_collab.runs.text import add_numbers, result_table, stdout_console
from lightning_collab.tuning.composition import experiment_yaml
from lightning_collab.tuning.coordinator import FINISHER, StudyFailedError, first_error
from lightning_collab.tuning.processes import run_subprocess, sign_of_life
from lightning_collab.tuning.report import TRIALS_FILE, WINNER, write_study_report
from lightning_collab.tuning.storage import JOURNAL_FILE, StorageURL
from lightning_collab.tuning.sweep import say
from lightning_collab.tuning.trials import Attribute, Progress, as_csv, results, trial_rows
from lightning_collab.tuning.worker import SIGNS_BEFORE_STALE, StudyWorker

BEST_FILE = "best.yaml"
SHOWN = 5
# More than other devices or numbers of threads make.
SAME_WITHIN = 1e-3
PASSED_ON = ("logger", "callbacks", "data.root")


def finish_study(worker: StudyWorker) -> None:
    """Write what came out of a study; one of the processes that share it does.

    Args:
        worker: of the study, whose trials have all ended.

    Raises:
        StudyFailedError: no trial was completed.
    """
    coordinator, settings = worker.coordinator(), worker.settings
    study = coordinator.study
    trials = study.get_trials(deepcopy=False)
    rows = trial_rows(trials, settings.objectives, settings.directions)
    write_atomically(worker.sweep_dir / TRIALS_FILE, as_csv(rows))
    if not any(trial.state == TrialState.COMPLETE for trial in trials):
        raise StudyFailedError(
            f"no trial of {study.study_name} was completed; the first error:\n"
            f"{first_error(trials) or 'none: all were pruned'}"
        )
    if not coordinator.claim_finish():
        say("another process that shares this study trains the winner and writes the report")
        return
    renew = partial(study.set_user_attr, FINISHER)
    try:
        with sign_of_life(renew, settings.stale_after / SIGNS_BEFORE_STALE):
            _finish(worker, study)
    finally:
        coordinator.release_finish()


def _finish(worker: StudyWorker, study: optuna.Study) -> None:
    single = len(worker.settings.objectives) == 1
    best = [study.best_trial] if single else study.best_trials
    for trial in sorted(best, key=lambda trial: trial.number):
        name = Path(BEST_FILE if single else f"best-{trial.number}.yaml")
        overrides = trial.user_attrs.get(Attribute.OVERRIDES, trial.params)
        text = experiment_yaml(worker.composer, overrides, _comment(worker, trial))
        write_atomically(worker.sweep_dir / name, text)
        # Where `--config-dir <sweep>` finds it as experiment=best.
        (worker.sweep_dir / "experiment").mkdir(exist_ok=True)
        write_atomically(worker.sweep_dir / "experiment" / name, text)
    metrics = None
    if single and worker.settings.retrain_winner:
        metrics = _retrain(worker, study, best[0])
    _snapshot(worker, study)
    page = write_study_report(worker.sweep_dir)
    _summarise(worker, study, metrics, page)


def _comment(worker: StudyWorker, trial: FrozenTrial) -> str:
    found = results(trial, worker.settings.objectives).items()
    values = ", ".join(f"{name} {value:.5f}" for name, value in found)
    return f"Trial {trial.number} of the study {worker.study_name}: {values}."


def _retrain(worker: StudyWorker, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    """Train the winner as a run like any other, and look at the test part for the first time."""
    directory = worker.sweep_dir / WINNER
    run = RunDirectory(directory)
    before = study.user_attrs.get(WINNER)
    if before is not None and before["number"] == trial.number and run.metrics_file.is_file():
        return run.read_metrics()
    if directory.is_dir() and before is not None and before["number"] != trial.number:
        directory.rename(worker.sweep_dir / f"{WINNER}-was-trial-{before['number']}")
    say(f"training trial {trial.number} again, to test it once")
    command = module_command(
        "train",
        [
            f"hydra.searchpath=[{quoted(worker.sweep_dir.as_uri())}]",
            "experiment=best",
            # What best.yaml leaves out, since it is of this machine or of looking on.
            *(each for each in worker.space.fixed if each.lstrip("+").startswith(PASSED_ON)),
            f"hydra.run.dir={quoted(str(directory))}",
        ],
    )
    code, stopped = run_subprocess(command, {}, None)
    if code != 0 or stopped:
        raise TrainingError(
            f"the winner (trial {trial.number}) was not trained to the end (exit code {code}); "
            "the same command again tries once more"
        )
    metrics = run.read_metrics()
    study.set_user_attr(WINNER, {"number": trial.number, "metrics": metrics})
    return metrics


def _snapshot(worker: StudyWorker, study: optuna.Study) -> None:
    """Copy a study that is kept elsewhere into the sweep directory, where the report reads it."""
    target = worker.sweep_dir / JOURNAL_FILE
    if worker.address.file == target:
        return
    unfinished = target.with_suffix(".partial")
    unfinished.unlink(missing_ok=True)
    optuna.copy_study(
        from_study_name=study.study_name,
        from_storage=worker.address.open(),
        to_storage=StorageURL(str(unfinished)).open(),
    )
    unfinished.replace(target)


def _summarise(
    worker: StudyWorker, study: optuna.Study, metrics: dict[str, Any] | None, page: Path
) -> None:
    trials = study.get_trials(deepcopy=False)
    progress = Progress.of(trials)
    objectives = worker.settings.objectives
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1 if worker.settings.directions[0] == "maximize" else 1
    complete.sort(key=lambda trial: sign * (trial.values or [0.0])[0])
    if len(objectives) > 1:
        complete = study.best_trials
    names = list(dict.fromkeys(name for trial in complete for name in trial.params))
    title = (
        f"{progress.complete} complete, {progress.pruned} pruned, {progress.failed} failed, "
        f"{progress.interrupted} interrupted; the best"
    )
    table = result_table(title)
    table.add_column("trial", overflow="fold")
    for trial in complete[:SHOWN]:
        add_numbers(table, str(trial.number))
    for number, objective in enumerate(objectives):
        cells = (f"{trial.values[number]:.4f}" for trial in complete[:SHOWN])
        table.add_row(objective, *cells, end_section=number + 1 == len(objectives))
    for name in names:
        table.add_row(name, *(_cell(trial.params.get(name)) for trial in complete[:SHOWN]))
    console = stdout_console()
    console.print(table)
    if metrics is not None:
        numbers = ", ".join(
            f"{part} {shown} {metrics[name]:.4f}"
            for name, part, shown in _of_winner(objectives[0])
            if name in metrics
        )
        console.print(f"the best, trained again: {numbers}", highlight=False)
        _say_where_not_reproduced(objectives[0], study.best_value, metrics)
    here = Path(os.path.relpath(worker.sweep_dir))
    for label, text in (
        ("report", os.path.relpath(page)),
        ("again", command_line("train", "--config-dir", str(here), "experiment=best")),
        ("curves", tensorboard_line(here)),
    ):
        if label != "again" or len(objectives) == 1:
            console.print(f"{label:<8}{text}", highlight=False, soft_wrap=True, markup=False)


def _of_winner(objective: str) -> list[tuple[str, str, str]]:
    """Names, parts and labels of what is said of the winner: RMSE, and what it was chosen by."""
    names = dict.fromkeys(("rmse", objective.removeprefix("val/")))
    return [
        (f"{part}/{name}", part, "RMSE" if name == "rmse" else name)
        for name in names
        for part in ("val", "test")
    ]


def _say_where_not_reproduced(objective: str, value: float, metrics: dict[str, Any]) -> None:
    """A winner that does not do again what it did as a trial is no winner."""
    again = metrics.get(objective)
    if isinstance(again, float) and abs(again - value) > SAME_WITHIN * abs(value):
        say(
            f"warning: {objective} was {value:.4f} in the trial and is {again:.4f} now: results of "
            "this config vary from run to run"
        )


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value).strip('"')

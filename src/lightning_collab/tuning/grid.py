"""`hydra/sweeper=grid`: every combination of what is typed, one run each, each once."""

import itertools
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import IntervalSweep

from lightning_collab.config.compose import plain
from lightning_collab.errors import ConfigError
from lightning_collab.runs.directory import label_of
from lightning_collab.runs.invocation import module_command
from lightning_collab.runs.text import add_numbers, result_table, stdout_console
from lightning_collab.training.parts import check_parts
from lightning_collab.tuning import grid_job
from lightning_collab.tuning.composition import Composer
from lightning_collab.tuning.grid_job import GridJob, GridTask, fingerprint
from lightning_collab.tuning.search_space import parsed_overrides
from lightning_collab.tuning.settings import GridSettings, checked_settings
from lightning_collab.tuning.sweep import Sweep, job_error, say

MOST_JOBS = 10_000


def run_grid(sweep: Sweep, arguments: Sequence[str]) -> list[Any]:
    """Run the jobs of a grid that are not done, and sum up all of them.

    A job is done where its directory has a whole result of the same config. A job of an earlier
    start that failed or was interrupted runs again in the same directory.

    Args:
        sweep: what Hydra composed.
        arguments: overrides of the command line that are not Hydra's own.

    Returns:
        One result of Hydra for each job that ran.

    Raises:
        ConfigError: a combination that makes no config; no job has run then.
        SystemExit: a job failed.
    """
    settings = checked_settings(GridSettings, sweep.settings)
    combinations = _combinations(settings, arguments, sweep.hydra_context.config_loader)
    composer = Composer(sweep.hydra_context.config_loader, sweep.config, ())
    prints = [_checked(sweep, composer, each) for each in combinations]
    first = replace(composer, fixed=combinations[0]).run_config({}) if sweep.trains else None
    settings = settings.beside(first)
    sweep.pin_directory()
    directory = sweep.directory
    (directory / grid_job.STOP_FILE).unlink(missing_ok=True)
    jobs = _placed(directory, combinations, prints)
    to_do = [job for job in jobs if not job.is_done()]
    done = f", {len(jobs) - len(to_do)} of them done already" if len(to_do) < len(jobs) else ""
    say(f"{len(jobs)} jobs in {os.path.relpath(directory)}{done}")
    results = _launch(sweep, settings, to_do) if to_do else []
    summary = grid_job.summarise(directory, jobs, settings)
    _show(summary, str(settings.objective), directory)
    failed = [row for row in summary.rows if row["status"] == "failed"]
    if failed:
        sys.exit(
            f"error: {len(failed)} of {len(jobs)} jobs failed; the same command again "
            "runs these only"
        )
    return results


def _combinations(
    settings: GridSettings, arguments: Sequence[str], config_loader: Any
) -> list[list[str]]:
    """The overrides of each job, in the order of Hydra's own sweeper."""
    choices: dict[str, list[str]] = {}
    texts = [*(f"{key}={value}" for key, value in settings.params.items()), *arguments]
    for text, override in parsed_overrides(texts, config_loader):
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [text]
        elif isinstance(override.value(), IntervalSweep):
            raise ConfigError(
                f"{text}: an interval has no end of values; use choice(...) or range(...), or "
                "hydra/sweeper=optuna_study for a search"
            )
        else:
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
            if not choices[key]:
                raise ConfigError(f"{text}: there is nothing to choose from")
    count = math.prod(len(each) for each in choices.values())
    if count > MOST_JOBS:
        raise ConfigError(f"the grid has {count:,} jobs; at most {MOST_JOBS:,}")
    return [list(each) for each in itertools.product(*choices.values())]


def _checked(sweep: Sweep, composer: Composer, overrides: list[str]) -> str:
    """The fingerprint of a job's config, which is checked where it is a training run's."""
    job = replace(composer, fixed=overrides)
    try:
        if sweep.trains:
            check_parts(job.run_config({}))
    except ConfigError as error:
        shown = " ".join(overrides)
        raise ConfigError(f"{error}\n(in the job {shown}; no job was started)") from None
    return fingerprint(plain(job.compose({})))


def _placed(directory: Path, combinations: list[list[str]], prints: list[str]) -> list[GridJob]:
    """Give each job the directory that it had before, or the next free number and its label."""
    kept = sorted(directory.glob(f"*/{grid_job.JOB_FILE}"))
    before = {grid_job.read_json(path).get("config"): path.parent for path in kept}
    taken = {path.name.partition("_")[0] for path in directory.glob("*")}
    free = (str(n) for n in itertools.count() if str(n) not in taken)
    common = set(combinations[0]).intersection(*combinations)
    jobs = []
    for overrides, each in zip(combinations, prints, strict=True):
        place = before.get(each)
        if place is None:
            label = label_of([typed for typed in overrides if typed not in common])
            place = directory / f"{next(free)}{'_' if label else ''}{label}"
        jobs.append(GridJob(place, tuple(overrides), each))
    return jobs


def _launch(sweep: Sweep, settings: GridSettings, jobs: list[GridJob]) -> list[Any]:
    for job in jobs:
        # What a start that was not whole left of it.
        if (job.directory / grid_job.JOB_FILE).is_file():
            shutil.rmtree(job.directory)
    task = GridTask(
        sweep.task_function,
        module_command(sweep.task_function.name, []),
        sweep.directory,
        {job.directory.name: job for job in jobs},
        settings.fail_fast,
    )
    overrides = [[*job.overrides, f"hydra.sweep.subdir={job.directory.name}"] for job in jobs]
    try:
        results = sweep.launch(task, overrides)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command again runs the jobs that are not done")
    for result in results:
        error = job_error(result)
        if error is not None:
            # Not of a job, whose errors are kept by the task, but of the machinery around it.
            raise error
    return results


def _show(summary: grid_job.Summary, objective: str, directory: Path) -> None:
    console = stdout_console()
    table = result_table(f"sorted by {objective}")
    for name in ("job", *summary.swept):
        table.add_column(name, overflow="fold")
    for name in summary.shown_metrics:
        add_numbers(table, name)
    for row in summary.rows:
        if row["status"] == "done":
            numbers = (
                f"{row[name]:.4f}" if isinstance(row.get(name), float) else str(row.get(name, ""))
                for name in summary.shown_metrics
            )
            table.add_row(row["directory"], *(str(row[name]) for name in summary.swept), *numbers)
    console.print(table)
    not_done = [row for row in summary.rows if row["status"] != "done"]
    for row in sorted(not_done, key=lambda row: row["status"] != "failed"):
        what = (row["error"] or "not run").splitlines()[0]
        line = f"{row['status']}: {row['directory']} ({row['overrides']}): {what}"
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"summary {os.path.relpath(directory / 'sweep.csv')}", highlight=False, soft_wrap=True
    )

"""The command cross_validate: experiments on the same folds."""

import json
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lightning_collab.config import RunConfig, cross_validation
from lightning_collab.data.sources import load_ratings
from lightning_collab.errors import ConfigError
from lightning_collab.runs.files import write_atomically
from lightning_collab.runs.text import stdout_console
from lightning_collab.training import cross_validation as summaries
from lightning_collab.training.console import run_log, say, say_file
from lightning_collab.training.cross_validation import FoldRun, plan, run_fold

RESULT = "cross_validation.json"


def cross_validate_command(config: DictConfig) -> None:
    """Run the folds that are asked for; write the summary once all folds are done.

    Args:
        config: of conf/cross_validate.yaml.

    Raises:
        ConfigError: a config that cannot be cross-validated.
    """
    hydra = HydraConfig.get()
    plain: Any = OmegaConf.to_container(config, resolve=True)
    own = cross_validation.cross_validation_config(plain)
    named = cross_validation.experiments(own, list(hydra.overrides.task), hydra.runtime.choices)
    for name, each in named.items():
        if each.trainer.strategy == "ddp":
            raise ConfigError(
                f"{name}: trainer={each.trainer.name} starts several processes for one run; a "
                "cross-validation runs each fold in one, and a launcher can spread the folds: "
                "-m folds=1,2,3"
            )
    first = next(iter(named.values()))
    for name, each in named.items():
        if _ratings(each) != _ratings(first) or each.split != first.split:
            raise ConfigError(
                f"compare: {name} is not on the same data and split as {next(iter(named))}; set "
                "data=... or split=... for both"
            )
        if each.ranks != first.ranks:
            raise ConfigError(
                f"compare: of {next(iter(named))} and {name} one learns to rank and the other "
                "predicts ratings; compare runs of one kind"
            )
    there = cross_validation.folds_of(first)
    directory = Path(hydra.runtime.output_dir)
    runs = plan(named, there, own.repeats, directory)
    _run(runs, cross_validation.chosen_folds(own, there))
    with FileLock(directory / ".summary.lock"):
        if all(run.done for run in runs):
            _sum_up(runs, directory, list(hydra.overrides.task))
        else:
            left = sum(not run.done for run in runs)
            say(f"{left} of {len(runs)} trainings are still to do; the last one writes the summary")


def _ratings(config: RunConfig) -> dict[str, Any]:
    """What decides which ratings there are; experiments may have batches of different sizes."""
    return config.data.model_dump(exclude={"batch_size", "cache"})


def _run(runs: list[FoldRun], chosen: list[int | str]) -> None:
    mine = [run for run in runs if run.fold in chosen]
    table = None
    for number, run in enumerate(mine, 1):
        label = f"{number}/{len(mine)}  {run.experiment}, repeat {run.repeat}, fold {run.fold}"
        if run.done:
            say(f"{label}: done before")
            continue
        run.run.path.mkdir(parents=True, exist_ok=True)
        with run_log(run.run.log_file, quiet=True):
            table = table or load_ratings(run.config.data)
            run_fold(run, table)
        metrics = run.run.read_metrics()
        for key, what in list(summaries.shown_metrics(metrics).items())[:1]:
            say(f"{label}: test {what} {metrics[key]:.4f}")


def _sum_up(runs: list[FoldRun], directory: Path, typed: list[str]) -> None:
    summary = {"overrides": typed, **summaries.summarised(runs)}
    write_atomically(directory / RESULT, json.dumps(summary, indent=2) + "\n")
    console = stdout_console()
    console.print(summaries.fold_table(summary))
    for table in summaries.comparison_tables(summary):
        console.print(table)
    say_file("result", directory / RESULT)

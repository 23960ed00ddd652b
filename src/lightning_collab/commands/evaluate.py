"""The command evaluate: the numbers of a trained model again, and further ones."""

from pathlib import Path

from omegaconf import DictConfig
from rich.table import Table

from lightning_collab.commands.blend import blend_table
from lightning_collab.config.commands import EvaluateConfig
from lightning_collab.config.section import job_config
from lightning_collab.errors import ConfigError
from lightning_collab.metrics.ranking_baselines import run_rankings
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.terminal import add_numbers, result_table, stdout_console
from lightning_collab.training.build import load_data
from lightning_collab.training.console import run_log, say
from lightning_collab.training.evaluation import Snapshot, measure_run, snapshot_ensemble
from lightning_collab.training.ranking_table import below_most_popular, ranking_table
from lightning_collab.training.result_tables import (
    below_biases,
    cold_table,
    further_table,
    metrics_table,
)


def evaluate_command(config: DictConfig) -> None:
    """Print the numbers of a checkpoint of a run, or of several runs as one.

    Args:
        config: of conf/evaluate.yaml.

    Raises:
        ConfigError: no run is named, or several that are not of the same data and split.
        CheckpointError: not a run, or nothing in it that could be measured as asked.
    """
    asked = job_config(EvaluateConfig, config)
    if asked.run is None:
        with run_log(None, quiet=True):
            table = blend_table(asked)
        stdout_console().print(table)
        return
    run = RunDirectory(Path(asked.run))
    trained = asked.data.moved(run.read_config())
    tables, warning = [], None
    with run_log(None, quiet=True):
        data = load_data(trained)
        metrics, module = measure_run(trained, run, data, asked.checkpoint)
        if any(name.endswith("/rmse") for name in metrics):
            tables.append(metrics_table(metrics, trained.model.name))
            warning = below_biases(metrics)
        if (cold := cold_table(metrics)) is not None:
            tables.append(cold)
        if trained.metrics.further:
            tables.append(further_table(metrics, trained.metrics.further))
        if asked.ensemble and trained.ranks:
            raise ConfigError(
                "ensemble=true averages predicted ratings, but this run learned to rank; "
                "blend several runs with runs=[<run>,<run>]"
            )
        if asked.ranking or trained.ranks:
            model = module.model.eval()
            scores = model.ranking_scores() if trained.ranks else model.item_scores()
            ranked = run_rankings(scores, data, trained, top_k=asked.top_k, liked=asked.liked)
            tables.append(ranking_table(ranked, trained.model.name))
            warning = below_most_popular(ranked, trained.loss.name)
        if asked.ensemble:
            tables.append(_ensemble_table(snapshot_ensemble(module, data, run)))
    for table in tables:
        stdout_console().print(table)
    if warning is not None:
        say(warning)


def _ensemble_table(snapshots: list[Snapshot]) -> Table:
    title = "RMSE of each cycle alone, and of the mean with all later cycles"
    table = result_table(title)
    add_numbers(table, "cycle")
    for part in snapshots[0].single:
        add_numbers(table, f"{part} single")
        add_numbers(table, f"{part} averaged")
    for each in snapshots:
        both = ((each.single[part], each.averaged[part]) for part in each.single)
        table.add_row(str(each.cycle), *(f"{value:.4f}" for values in both for value in values))
    return table

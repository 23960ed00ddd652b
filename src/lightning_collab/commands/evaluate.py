"""The command evaluate: the numbers of a trained model again, and further ones."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from lightning_collab.config.commands import EvaluateConfig
from lightning_collab.config.section import job_config
from lightning_collab.metrics.rankings import RankingMetrics, ranking_of_parts
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.console import further_table, metrics_table, run_log
from lightning_collab.training.evaluation import Snapshot, measure_run, snapshot_ensemble


def evaluate_command(config: DictConfig) -> None:
    """Print the numbers of a checkpoint of a run.

    Args:
        config: of conf/evaluate.yaml.

    Raises:
        ConfigError: no run is named.
        CheckpointError: not a run, or nothing in it that could be measured as asked.
    """
    asked = job_config(EvaluateConfig, config)
    run = RunDirectory(Path(asked.run))
    trained = run.read_config()
    tables = []
    with run_log(None, quiet=True):
        data = load_data(trained)
        metrics, module = measure_run(trained, run, data, asked.checkpoint)
        tables.append(metrics_table(metrics, trained.model.name))
        if trained.metrics.further:
            tables.append(further_table(metrics, trained.metrics.further))
        if asked.ranking:
            ranked = ranking_of_parts(
                module.model.eval(), data, liked=asked.liked, top_k=asked.top_k
            )
            tables.append(_ranking_table(ranked, asked))
        if asked.ensemble:
            tables.append(_ensemble_table(snapshot_ensemble(module, data, run)))
    for table in tables:
        Console().print(table)


def _ranking_table(ranked: dict[str, RankingMetrics], asked: EvaluateConfig) -> Table:
    title = (
        f"ranking of the whole catalogue, seen items left out; liked: {asked.liked:g} or more; "
        "higher is better"
    )
    table = Table("part", title=title, title_justify="left")
    for head in (f"NDCG@{asked.top_k}", f"recall@{asked.top_k}", "coverage", "users"):
        table.add_column(head, justify="right")
    for part, each in ranked.items():
        accuracy = f"{each.ndcg:.4f}", f"{each.recall:.4f}"
        table.add_row(part, *accuracy, f"{each.coverage:.1%}", f"{each.users:,}")
    return table


def _ensemble_table(snapshots: list[Snapshot]) -> Table:
    title = "RMSE of each cycle alone, and of the mean with all later cycles"
    table = Table(title=title, title_justify="left")
    table.add_column("cycle", justify="right")
    for part in snapshots[0].single:
        table.add_column(f"{part} single", justify="right")
        table.add_column(f"{part} averaged", justify="right")
    for each in snapshots:
        both = ((each.single[part], each.averaged[part]) for part in each.single)
        table.add_row(str(each.cycle), *(f"{value:.4f}" for values in both for value in values))
    return table

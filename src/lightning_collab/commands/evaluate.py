"""The command evaluate: the numbers of a trained model again, of several, and of all as one."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from omegaconf import DictConfig
from rich.table import Table

from lightning_collab.config import RunConfig
from lightning_collab.config.commands import EvaluateConfig
from lightning_collab.config.model import Positives
from lightning_collab.config.section import job_config
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.rating_table import fingerprint
from lightning_collab.errors import ConfigError
from lightning_collab.metrics.blending import Blend, blend_weights
from lightning_collab.metrics.ranking_baselines import run_rankings
from lightning_collab.metrics.rankings import Scorer, rank_part
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.text import add_numbers, result_table, stdout_console
from lightning_collab.training.build import load_data
from lightning_collab.training.console import run_log, say
from lightning_collab.training.evaluation import Snapshot, measure_run, snapshot_ensemble
from lightning_collab.training.result_tables import (
    SHOWN_AS,
    below_biases,
    below_most_popular,
    cold_table,
    further_table,
    metrics_table,
    ranking_table,
)
from lightning_collab.training.trained_model import TrainedModel

# Of the first numbers of items that rankings are measured at.
SHOWN = ("val/ndcg", "test/ndcg", "test/recall", "test/coverage")


class BlendedRun(NamedTuple):
    """One of the runs.

    Attributes:
        path: of its directory.
        config: its own.
        scorer: of its checkpoint, on the CPU.
    """

    path: str
    config: RunConfig
    scorer: Scorer


def blend_table(asked: EvaluateConfig) -> Table:
    """Measure runs and their blend, whose weights are chosen on the validation part.

    Args:
        asked: with two or more runs.

    Raises:
        ConfigError: the runs are not of the same ratings, split alike, or nothing validates.
        CheckpointError: one of them is not a run.
        DataError: as `rank_part`.
    """
    data, runs = _loaded(asked)
    # What counts is what the first run says that learns to rank; what it cuts at, too.
    ranking = next((run.config for run in runs if run.config.ranks), runs[0].config)
    top_k = ranking.metrics.top_k if asked.top_k is None else asked.top_k
    liked = ranking.liked if asked.liked is None else asked.liked
    scorers = [run.scorer for run in runs]
    found = blend_weights(scorers, data, liked=liked, k=top_k[0], seed=ranking.seed)
    names = [*(run.path for run in runs), "blend"]
    return _table(
        names,
        [*found.weights, None],
        [
            _measured(each, data, liked, top_k, ranking)
            for each in (*scorers, Blend(scorers, found.weights))
        ],
        top_k,
    )


def _loaded(asked: EvaluateConfig) -> tuple[RatingDataModule, list[BlendedRun]]:
    """The ratings that all runs have, and the runs."""
    runs: list[BlendedRun] = []
    first: tuple[str, RatingDataModule, str] | None = None
    for path in asked.runs:
        directory = RunDirectory(Path(path))
        config = asked.data.moved(directory.read_config())
        if not config.split.has_val:
            raise ConfigError(
                f"runs: {path} has no validation part to choose the weights on; train it "
                "with a split.val above 0"
            )
        data = load_data(config)
        if first is None:
            first = path, data, fingerprint(data.table)
        else:
            _check_same(first, path, data)
        trained = TrainedModel.load(path, asked.checkpoint, cold=False)
        if trained.item_vocabulary != data.item_vocabulary or (
            trained.user_vocabulary != data.user_vocabulary
        ):
            raise ConfigError(f"runs: {path} was trained on data other than its config now names")
        runs.append(BlendedRun(path, config, trained.item_scores))
    assert first is not None
    return first[1], runs


def _check_same(
    first: tuple[str, RatingDataModule, str], path: str, data: RatingDataModule
) -> None:
    """Refuse runs that learned from, or are measured by, other pairs."""
    other, of_other, table = first
    if fingerprint(data.table) != table:
        what = "different ratings (data)"
    elif not all(
        np.array_equal(getattr(data.rows, part), getattr(of_other.rows, part))
        for part in ("train", "val", "test")
    ):
        what = "a different split (split)"
    else:
        return
    raise ConfigError(
        f"runs: {path} has {what} than {other}; blend runs of the same data and split, such as "
        "runs of one experiment with different seeds or losses"
    )


def _measured(
    scorer: Scorer, data: RatingDataModule, liked: Positives, top_k: list[int], config: RunConfig
) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in ("val", "test"):
        if len(getattr(data.rows, part)):
            found |= rank_part(scorer, data, part, liked=liked, top_k=top_k, seed=config.seed)
    return found


def _table(
    names: list[str],
    weights: list[float | None],
    measured: list[dict[str, float]],
    top_k: list[int],
) -> Table:
    title = "standardized scores of several runs, weighted by the validation part"
    table = result_table(title)
    table.add_column("run", overflow="fold")
    add_numbers(table, "weight")
    columns = [name for each in SHOWN if (name := f"{each}@{top_k[0]}") in measured[0]]
    for column in columns:
        part, _, name = column.partition("/")
        metric, _, k = name.partition("@")
        add_numbers(table, f"{part} {SHOWN_AS.get(metric, metric)}@{k}")
    for name, weight, numbers in zip(names, weights, measured, strict=True):
        cells = (f"{numbers[column]:.4f}" for column in columns)
        shown = "" if weight is None else f"{weight:.3g}"
        table.add_row(name, shown, *cells, end_section=name == names[-2])
    return table


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

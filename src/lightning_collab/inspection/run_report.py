"""One page that shows a run: numbers, curves, errors, the map and its ends."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lightning_collab.config.commands import MapChoice
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.errors import InspectionError
from lightning_collab.inspection import figures, pages
from lightning_collab.inspection.embedding_map import EmbeddingMap, embedding_map
from lightning_collab.inspection.figures import picture
from lightning_collab.inspection.layout import chosen_method
from lightning_collab.inspection.neighbours import MIN_RATINGS
from lightning_collab.inspection.pages import PageTable, Picture
from lightning_collab.inspection.predictions import Predictions, predict_part
from lightning_collab.inspection.rankings import RankedUsers, rank_users_of
from lightning_collab.inspection.run_curves import curve_pictures
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)

MAP_POINTS = 1500
# Of the t-SNE of a report: a run should not wait long for it.
MAP_ITERATIONS = 300
# Baselines of rankings: key of metrics.json -> head.
RANKED_BY = {"most_popular": "most popular", "item_knn": "item-kNN", "ease": "EASE"}
HEADS = {f"{p}/{n}": f"{p} {n.upper()}" for p in ("val", "test") for n in ("rmse", "mae")}
PART_NAMES = {"val": "validation", "test": "test"}
BASELINES = {"baseline/bias_rmse": "user and item biases", "baseline/mean_rmse": "mean rating"}
IN_TABLE = ("val/", "test/", "baseline/")


def write_run_report(
    run: TrainedModel,
    data: RatingDataModule,
    map_method: MapChoice | None = "auto",
    output: Path | None = None,
) -> Path:
    """Write the report of a run, whole or not at all.

    Args:
        run: a trained run.
        data: its ratings.
        map_method: layout of the map of items; None: no map.
        output: where to; None: report.html in the run directory.

    Returns:
        The file.

    Raises:
        InspectionError: the ratings are not those of the run, or the file cannot be written.
    """
    ranked = rank_users_of(run, data) if run.ranks else None
    page = run_report(run, predict_part(run, data), map_method, ranked)
    return pages.write_report(page, output or run.directory.report_file)


def run_report(
    run: TrainedModel,
    predictions: Predictions | None,
    map_method: MapChoice | None,
    ranked: RankedUsers | None = None,
) -> str:
    """The report of a run as a page.

    Args:
        run: a trained run.
        predictions: of its validation or test part; None: nothing was held out.
        map_method: layout of the map of items; None: no map.
        ranked: of a run that learned to rank, its users; None: of any other.
    """
    metrics = run.metrics
    drawn = _map(run, map_method)
    ends = [] if drawn is None else drawn.ends(10)
    # Coverage of its intervals is that of a model that says how sure it is.
    sure = predictions if predictions is not None and predictions.deviations is not None else None
    further = run.config.get("metrics", {}).get("further", [])
    facts = [
        (key, value)
        for key, value in metrics.items()
        if not key.startswith(IN_TABLE) or key.partition("/")[2] in further
    ]
    return pages.render(
        "report.html.j2",
        title=f"{run.model_name} on {run.config['data']['name']}",
        name=str(run.directory.path.resolve().name),
        checkpoint=run.checkpoint.name,
        ranks=run.ranks,
        metrics=ranking_rows(metrics) if run.ranks else metrics_rows(metrics, run.model_name),
        ranked=None if ranked is None else _ranking_pictures(ranked),
        ranked_part=None if ranked is None else PART_NAMES[ranked.part],
        examples=None if ranked is None else PageTable.of(ranked.examples),
        statistics=PageTable(["", ""], facts),
        curves=curve_pictures(figures.read_curves_of(run.directory)),
        part=None if predictions is None else PART_NAMES[predictions.part],
        errors=[] if predictions is None else _error_pictures(predictions),
        coverage=None if sure is None else PageTable.of(sure.coverage()),
        by_rating=None if predictions is None else PageTable.of(predictions.by_rating()),
        map=None if drawn is None else drawn.page_data(),
        map_title="" if drawn is None else drawn.title,
        extremes=pages.page_ends(ends),
        config=yaml.safe_dump(run.config, sort_keys=False),
    )


def metrics_rows(metrics: Mapping[str, Any], model: str) -> PageTable:
    """The numbers beside the baselines, which are measured on test, else on val.

    Args:
        metrics: the content of metrics.json.
        model: its name.
    """
    columns = [key for key in HEADS if key in metrics]
    if not columns:
        return PageTable([], [])
    measured = "test/rmse" if columns[-1].startswith("test") else "val/rmse"
    rows: list[tuple[Any, ...]] = [(model, *(metrics[key] for key in columns))]
    for baseline, label in BASELINES.items():
        if baseline in metrics:
            rows.append((label, *(metrics[baseline] if c == measured else "" for c in columns)))
    return PageTable(["", *(HEADS[key] for key in columns)], rows)


def ranking_rows(metrics: Mapping[str, Any]) -> PageTable:
    """Metrics of rankings, a row each, beside those of the baselines.

    Args:
        metrics: the content of metrics.json.
    """
    parts = {part: part for part in ("val", "test")}
    columns = {**parts, **{head: f"baseline/{key}" for key, head in RANKED_BY.items()}}
    names = [
        key.partition("/")[2] for key in metrics if key.startswith(("val/", "test/")) and "@" in key
    ]
    names = sorted(dict.fromkeys(names), key=lambda name: int(name.partition("@")[2]))
    shown = {
        head: prefix
        for head, prefix in columns.items()
        if any(f"{prefix}/{name}" in metrics for name in names)
    }
    rows = [(name, *(metrics.get(f"{p}/{name}") for p in shown.values())) for name in names]
    return PageTable(["", *shown], rows)


def _ranking_pictures(ranked: RankedUsers) -> list[Picture]:
    k = ranked.k
    activity = figures.class_figure(
        ranked.by_activity(), "training ratings of the user", f"NDCG@{k}"
    )
    popularity = figures.class_figure(
        ranked.by_popularity(), "training ratings of the item", f"recall@{k}"
    )
    return [
        picture(activity, f"NDCG@{k} by activity of the user (above the bars: users)"),
        picture(
            popularity,
            f"Recall@{k} by popularity of the item (above the bars: held-out items to be found)",
        ),
    ]


def _error_pictures(predictions: Predictions) -> list[Picture]:
    one = {"model": predictions}
    pictures = [
        picture(
            figures.by_count_figure(one, side),
            f"RMSE by the number of training ratings of the {side} (above the bars: ratings "
            "measured)",
        )
        for side in ("user", "item")
    ]
    calibration = (
        "Calibration: what people gave where the model predicted this much, with 95% intervals"
    )
    residuals = "Residuals by rating: box from quarter to quarter, whiskers to 5% and 95%"
    return [
        *pictures,
        picture(figures.calibration_figure(one), calibration),
        picture(figures.residuals_figure(predictions), residuals),
    ]


def _map(run: TrainedModel, method: MapChoice | None) -> EmbeddingMap | None:
    """The map of the items, or None (with the reason in the log) where there can be none."""
    if method is None:
        return None
    enough = int((run.items["ratings"] >= MIN_RATINGS).sum())
    try:
        return embedding_map(
            run,
            "items",
            chosen_method(method),
            min_ratings=MIN_RATINGS if enough >= MIN_RATINGS else 0,
            max_points=MAP_POINTS,
            seed=run.config["seed"],
            iterations=MAP_ITERATIONS,
        )
    except InspectionError as error:
        log.warning("the report has no map: %s", error)
        return None

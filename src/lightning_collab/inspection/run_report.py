"""One page that shows a run: numbers, curves, errors, the map and its ends."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lightning_collab.config.commands import MapChoice
from lightning_collab.config.model import RANKING_METRICS
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.errors import InspectionError
from lightning_collab.inspection import figures, pages
from lightning_collab.inspection.embedding_map import EmbeddingMap, embedding_map
from lightning_collab.inspection.figures import curve_pictures, picture
from lightning_collab.inspection.layout import chosen_method
from lightning_collab.inspection.neighbors import MIN_RATINGS
from lightning_collab.inspection.pages import PageTable, Picture
from lightning_collab.inspection.predictions import (
    Predictions,
    RankedUsers,
    predict_part,
    rank_users_of,
)
from lightning_collab.metrics import RANKING_BASELINES, RATING_BASELINES
from lightning_collab.training.result_tables import kinds_of, ranking_cell, shown_as
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)

MAP_POINTS = 1500
# Of the t-SNE of a report: a run should not wait long for it.
MAP_ITERATIONS = 300
HEADS = {f"{p}/{n}": f"{p} {n.upper()}" for p in ("val", "test") for n in ("rmse", "mae")}
PART_NAMES = {"val": "validation", "test": "test"}
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
        metrics=metrics_rows(metrics, run.model_name),
        rankings=ranking_rows(metrics),
        measured="test" if any(key.startswith("test/") for key in metrics) else "val",
        ranked=None if ranked is None else _ranking_pictures(ranked),
        ranked_part=None if ranked is None else PART_NAMES[ranked.part],
        examples=None if ranked is None else PageTable.of(ranked.examples),
        statistics=PageTable(["", ""], [(key, pages.fact(key, value)) for key, value in facts]),
        curves=curve_pictures(figures.read_curves_of(run.directory)),
        part=None if predictions is None else PART_NAMES[predictions.part],
        errors=[] if predictions is None else _error_pictures(predictions),
        coverage=None if sure is None else PageTable.of(sure.coverage()),
        by_rating=None if predictions is None else _by_rating(predictions),
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
    for kind, what in kinds_of(metrics).items():
        rows.append((f"{kind}: {what}", *(metrics.get(f"{key}_{kind}", "") for key in columns)))
    for name, label in RATING_BASELINES.items():
        if (baseline := f"baseline/{name}_rmse") in metrics:
            rows.append((label, *(metrics[baseline] if c == measured else "" for c in columns)))
    return PageTable(["", *(HEADS[key] for key in columns)], rows)


def ranking_rows(metrics: Mapping[str, Any]) -> PageTable:
    """Metrics of rankings, a row each, beside those of the baselines; empty where none is measured.

    Args:
        metrics: the content of metrics.json.
    """
    columns = {part: part for part in ("val", "test")}
    columns |= {head: f"baseline/{key}" for key, head in RANKING_BASELINES.items()}
    names = [f"{each}@{k}" for k in _cuts(metrics) for each in RANKING_METRICS]
    names = [name for name in names if f"val/{name}" in metrics or f"test/{name}" in metrics]
    shown = {
        head: prefix
        for head, prefix in columns.items()
        if any(f"{prefix}/{name}" in metrics for name in names)
    }
    rows = [
        (
            shown_as(name),
            *(
                ranking_cell(name.partition("@")[0], metrics.get(f"{prefix}/{name}")) or None
                for prefix in shown.values()
            ),
        )
        for name in names
    ]
    return PageTable(["", *shown], rows)


def _cuts(metrics: Mapping[str, Any]) -> list[int]:
    """Numbers of first items that rankings were measured at, ascending."""
    found = (re.fullmatch(r"(?:val|test)/ndcg@(\d+)", key) for key in metrics)
    return sorted({int(each[1]) for each in found if each})


def _by_rating(predictions: Predictions) -> PageTable:
    """Residuals of each rating; the ratings as people gave them: 1, and not 1.0000."""
    table = PageTable.of(predictions.by_rating())
    rows = [(f"{rating:g}", *others) for rating, *others in table.rows]
    return PageTable(["rating", "ratings", *table.header[2:-1], "RMSE"], rows)


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

"""One page that shows a run: numbers, curves, errors, the map and its ends."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure

from lightning_collab.config.commands import MapChoice
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.errors import InspectionError
from lightning_collab.inspection.embedding_map import EmbeddingMap, embedding_map
from lightning_collab.inspection.extremes import extremes
from lightning_collab.inspection.figures import (
    Curve,
    by_count_figure,
    calibration_figure,
    curves_figure,
    data_uri,
    rates,
    read_curves,
    residuals_figure,
)
from lightning_collab.inspection.layout import chosen_method
from lightning_collab.inspection.neighbours import MIN_RATINGS
from lightning_collab.inspection.pages import EXTREMES_NOTE, PageTable, Picture, page_ends, render
from lightning_collab.inspection.predictions import Predictions, predict_part
from lightning_collab.runs.atomic_write import write_atomically
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)

MAP_POINTS = 1500
# Of the t-SNE of a report: a run should not wait long for it.
MAP_ITERATIONS = 300
CURVES = {"train/loss": "training loss", "val/loss": "validation loss"}
ERRORS = {"val/rmse": "validation RMSE", "val/mae": "validation MAE"}
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
    path = output or run.directory.report_file
    page = run_report(run, predict_part(run, data), map_method)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page)
    except OSError as error:
        raise InspectionError(f"cannot write the report {path}: {error}") from error
    return path


def run_report(
    run: TrainedModel, predictions: Predictions | None, map_method: MapChoice | None
) -> str:
    """The report of a run as a page.

    Args:
        run: a trained run.
        predictions: of its validation or test part; None: nothing was held out.
        map_method: layout of the map of items; None: no map.
    """
    metrics = run.metrics
    drawn = _map(run, map_method)
    ends = (
        []
        if drawn is None
        else page_ends(extremes(drawn.points, drawn.vectors, drawn.biases, count=10))
    )
    return render(
        "report.html.j2",
        title=f"{run.model_name} on {run.config['data']['name']}",
        name=str(run.directory.path.resolve().name),
        checkpoint=run.checkpoint.name,
        metrics=metrics_rows(metrics, run.model_name),
        statistics=PageTable(["", ""], [(k, v) for k, v in metrics.items() if _is_fact(k)]),
        curves=curve_pictures(read_curves(run.directory.tensorboard)),
        part=None if predictions is None else PART_NAMES[predictions.part],
        errors=[] if predictions is None else _error_pictures(predictions),
        coverage=_coverage(predictions),
        by_rating=None if predictions is None else PageTable.of(predictions.by_rating()),
        map=None if drawn is None else drawn.page_data(),
        map_title="" if drawn is None else drawn.title,
        extremes=ends,
        extremes_note=EXTREMES_NOTE,
        config=yaml.safe_dump(run.config, sort_keys=False),
    )


def metrics_rows(metrics: Mapping[str, Any], model: str) -> PageTable:
    """The numbers beside the baselines, which are measured on test, else on val.

    Args:
        metrics: the content of metrics.json.
        model: its name.
    """
    columns = [
        (part, name)
        for part in ("val", "test")
        for name in ("rmse", "mae")
        if f"{part}/{name}" in metrics
    ]
    if not columns:
        return PageTable([], [])
    measured = (columns[-1][0], "rmse")
    rows: list[tuple[Any, ...]] = [(model, *(metrics[f"{p}/{n}"] for p, n in columns))]
    for key, label in BASELINES.items():
        if key in metrics:
            rows.append((label, *(metrics[key] if c == measured else "" for c in columns)))
    return PageTable(["", *(f"{p} {n.upper()}" for p, n in columns)], rows)


def curve_pictures(curves: Mapping[str, Curve]) -> list[Picture]:
    """Losses, errors and learning rates of a run.

    Args:
        curves: from `read_curves`.
    """
    pictures = []
    for names, ylabel in ((CURVES, "mean squared error"), (ERRORS, "error in rating units")):
        found = {label: curves[tag] for tag, label in names.items() if tag in curves}
        if found:
            caption = " and ".join(found) + " after each epoch"
            pictures.append(
                _picture(curves_figure(found, ylabel), caption[0].upper() + caption[1:])
            )
    by_group = rates(dict(curves))
    if by_group:
        figure = curves_figure(by_group, "learning rate")
        pictures.append(_picture(figure, "Learning rate of each parameter group"))
    overlap = {
        label: curves[tag]
        for tag, label in (
            ("embeddings/genre_overlap", "10 nearest films"),
            ("embeddings/genre_overlap_chance", "chance"),
        )
        if tag in curves
    }
    if overlap:
        figure = curves_figure(overlap, "mean Jaccard overlap")
        pictures.append(_picture(figure, "Genres that a film shares with its neighbours"))
    return pictures


def _error_pictures(predictions: Predictions) -> list[Picture]:
    one = {"model": predictions}
    return [
        _picture(
            by_count_figure(one, "user"),
            "RMSE by the number of training ratings of the user (above the bars: ratings measured)",
        ),
        _picture(
            by_count_figure(one, "item"),
            "RMSE by the number of training ratings of the item (above the bars: ratings measured)",
        ),
        _picture(
            calibration_figure(one),
            "Calibration: what people gave where the model predicted this much, with 95% intervals",
        ),
        _picture(
            residuals_figure(predictions),
            "Residuals by rating: box from quarter to quarter, whiskers to 5% and 95%",
        ),
    ]


def _coverage(predictions: Predictions | None) -> PageTable | None:
    """Coverage of the intervals of a model that says how sure it is."""
    if predictions is None or predictions.deviations is None:
        return None
    return PageTable.of(predictions.coverage())


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


def _picture(figure: Figure, caption: str) -> Picture:
    return Picture(data_uri(figure), caption)


def _is_fact(key: str) -> bool:
    return not key.startswith(IN_TABLE)

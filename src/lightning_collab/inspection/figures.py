"""Figures of a run's report and of a comparison, as files and as parts of a page."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_collab.errors import InspectionError
from lightning_collab.inspection.pages import Picture
from lightning_collab.runs.directory import RunDirectory, name_of_board
from lightning_collab.runs.drawing import COLORS, HATCHES, INK, STYLE, svg_address

if TYPE_CHECKING:
    from lightning_collab.inspection.predictions import Predictions


class ShownFigure(Figure):
    """A figure that a notebook shows, though pyplot knows nothing of it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with rc_context(STYLE):
            self.savefig(
                buffer, format="png", dpi=80, facecolor="white", metadata={"Software": None}
            )
        return buffer.getvalue()


def picture(figure: Figure, caption: str) -> Picture:
    """The figure as a part of a page.

    Args:
        figure: what is shown.
        caption: what that is in words.
    """
    return Picture(svg_address(figure), caption)


# What Lightning's LearningRateMonitor puts before the names of optimizer and group.
RATE_PREFIX = "lr-"


@dataclass(frozen=True, eq=False)
class Curve:
    """One scalar over the run.

    Attributes:
        steps: int64 [n], optimizer steps done.
        values: float64 [n].
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def read_curves(logdir: Path) -> dict[str, Curve]:
    """All scalars of a run by their names; of a step that was logged twice the later value.

    Args:
        logdir: where the event files are; where there are none, the result is empty.
    """
    if not any(logdir.glob("events.out.tfevents.*")):
        return {}
    accumulator = EventAccumulator(str(logdir), size_guidance={"scalars": 0})
    accumulator.Reload()
    found: dict[str, list[Any]] = {}
    for tag in accumulator.Tags()["scalars"]:
        # A run of an earlier version that was resumed has both names.
        found.setdefault(name_of_board(tag), []).extend(accumulator.Scalars(tag))
    curves = {}
    for tag, unsorted in found.items():
        # Files of one second are not read in their order: what was written later counts.
        events = sorted(unsorted, key=lambda event: event.wall_time)
        latest = {event.step: event.value for event in events}
        steps = np.array(sorted(latest), dtype=np.int64)
        curves[tag] = Curve(steps, np.array([latest[int(step)] for step in steps]))
    return curves


def read_curves_of(run: RunDirectory) -> dict[str, Curve]:
    """All scalars that a run has kept here: on TensorBoard, else in the table of logger=csv.

    Args:
        run: its directory.
    """
    table = run.csv / "metrics.csv"
    curves = read_curves(run.tensorboard)
    if curves or not table.is_file():
        return curves
    logged = pl.read_csv(table, infer_schema_length=None)
    for tag in logged.columns:
        if tag not in ("step", "epoch"):
            latest = logged.select("step", tag).drop_nulls().unique("step", keep="last")
            steps, values = latest.sort("step").cast({tag: pl.Float64})
            curves[tag] = Curve(steps.to_numpy(), values.to_numpy())
    return curves


def rates(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The learning rate of each parameter group, by the group's name.

    Args:
        curves: from `read_curves`.
    """
    return {
        tag.removeprefix(RATE_PREFIX).partition("/")[2] or tag.removeprefix(RATE_PREFIX): curve
        for tag, curve in curves.items()
        if tag.startswith(RATE_PREFIX)
    }


def curves_figure(panels: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Scalars over the optimizer steps, in panels side by side.

    Args:
        panels: by what their values are; in each, curves by what to call them.
    """
    with rc_context(STYLE):
        figure = ShownFigure(figsize=(6.4 if len(panels) == 1 else 9.0, 3.4), layout="constrained")
        for axes, (ylabel, curves) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            axes.set(xlabel="optimizer step", ylabel=ylabel)
            for name, curve in curves.items():
                marker = "." if len(curve.steps) < 60 else None
                axes.plot(curve.steps, curve.values, marker=marker, linewidth=1.3, label=name)
            axes.legend(frameon=False, fontsize=8)
    return figure


@rc_context(STYLE)
def calibration_figure(predictions: Mapping[str, Predictions]) -> Figure:
    """Mean actual rating over mean prediction; a calibrated model lies on the diagonal.

    Args:
        predictions: by the name of the run.
    """
    figure, axes = _axes("mean prediction", "mean actual rating")
    ends = []
    for name, each in predictions.items():
        table = each.calibration()
        x, y = table["predicted"].to_numpy(), table["actual"].to_numpy()
        error = 1.96 * table["standard error"].to_numpy()
        axes.errorbar(x, y, yerr=error, fmt="o-", markersize=3, linewidth=1, label=name)
        ends += [x.min(), x.max()]
    axes.plot(
        [min(ends), max(ends)],
        [min(ends), max(ends)],
        "--",
        color=INK,
        linewidth=0.8,
        label="ideal",
    )
    axes.legend(frameon=False, fontsize=8)
    return figure


@rc_context(STYLE)
def by_count_figure(predictions: Mapping[str, Predictions], side: str) -> Figure:
    """RMSE by the number of training ratings of the user or item.

    Args:
        predictions: by the name of the run.
        side: `user` or `item`.
    """
    figure, axes = _axes(f"training ratings of the {side}", "RMSE")
    tables = {name: each.by_ratings_of(side) for name, each in predictions.items()}
    # Classes in the order of their lower end, over all runs.
    classes = {c: None for table in tables.values() for c in table["training ratings"]}
    order = sorted(classes, key=lambda c: int(c.split()[0].replace(",", "").replace("none", "0")))
    width = 0.8 / len(tables)
    for number, (name, table) in enumerate(tables.items()):
        at = np.array([order.index(c) for c in table["training ratings"]])
        bars = axes.bar(at + (number - (len(tables) - 1) / 2) * width, table["rmse"], width)
        bars.set_label(name)
        # More runs than colors.
        for bar in bars:
            bar.set_hatch(HATCHES[number // len(COLORS) % len(HATCHES)])
        if len(tables) == 1:
            axes.bar_label(bars, [f"{rows:,}" for rows in table["rows"]], fontsize=7)
    _name_classes(axes, order)
    if len(tables) > 1:
        # Above: bars leave no room.
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    return figure


@rc_context(STYLE)
def class_figure(table: pl.DataFrame, xlabel: str, ylabel: str) -> Figure:
    """A bar for each class of counts, with the number of rows above it.

    Args:
        table: `training ratings` (the range), `rows` and `value`.
        xlabel: of the figure.
        ylabel: of the figure.
    """
    figure, axes = _axes(xlabel, ylabel)
    bars = axes.bar(range(len(table)), table["value"], 0.8)
    axes.bar_label(bars, [f"{rows:,}" for rows in table["rows"]], fontsize=7)
    _name_classes(axes, list(table["training ratings"]))
    return figure


@rc_context(STYLE)
def residuals_figure(predictions: Predictions) -> Figure:
    """What was predicted for each rating: a box from quarter to quarter, whiskers to 5 and 95%.

    Args:
        predictions: of one run.
    """
    figure, axes = _axes("actual rating", "predicted minus actual")
    ratings = np.unique(predictions.actual)
    groups = [predictions.errors[predictions.actual == rating] for rating in ratings]
    names = [f"{rating:g}\n({len(group):,})" for rating, group in zip(ratings, groups, strict=True)]
    axes.boxplot(groups, tick_labels=names, whis=(5, 95), showfliers=False, widths=0.6)
    axes.axhline(0, color=INK, linewidth=0.8, linestyle="--")
    return figure


def _name_classes(axes: Axes, names: list[str]) -> None:
    turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), names, fontsize=8, **turned)


def _axes(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    # Made without pyplot, so that nothing is kept or shown.
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return figure, axes


CURVES = {"train/loss": "training loss", "val/loss": "validation loss"}
ERRORS = {"val/rmse": "validation RMSE", "val/mae": "validation MAE"}
RANKINGS = {
    "val/ndcg@10": "validation NDCG@10",
    "val/recall@10": "validation recall@10",
    "val/coverage@10": "coverage@10",
}
OVERLAP = {
    "embeddings/genre_overlap": "10 nearest films",
    "embeddings/genre_overlap_chance": "chance",
}


class Panel(NamedTuple):
    """Curves that are drawn together.

    Attributes:
        curves: by what to call them.
        ylabel: what they are.
        caption: the same in words.
    """

    curves: Mapping[str, Curve]
    ylabel: str
    caption: str


def _panels(curves: Mapping[str, Curve]) -> Iterator[Panel]:
    losses, errors, rankings, overlap = (
        {label: curves[tag] for tag, label in names.items() if tag in curves}
        for names in (CURVES, ERRORS, RANKINGS, OVERLAP)
    )
    by_group = rates(curves)
    for found, ylabel, caption in (
        (losses, "loss" if rankings else "mean squared error", _after_each_epoch(losses)),
        (rankings, "share", _after_each_epoch(rankings)),
        (errors, "error in rating units", _after_each_epoch(errors)),
        (by_group, "learning rate", "Learning rate of each parameter group"),
        (overlap, "mean Jaccard overlap", "Genres that a film shares with its neighbors"),
    ):
        if found:
            yield Panel(found, ylabel, caption)


def _after_each_epoch(names: Iterable[str]) -> str:
    caption = " and ".join(names) + " after each epoch"
    return caption[0].upper() + caption[1:]


def curve_pictures(curves: Mapping[str, Curve]) -> list[Picture]:
    """Losses, errors and learning rates of a run.

    Args:
        curves: from `read_curves`.
    """
    return [
        picture(curves_figure({panel.ylabel: panel.curves}), panel.caption)
        for panel in _panels(curves)
    ]


def run_curves_figure(run: RunDirectory) -> Figure:
    """The first two side by side: losses, and errors or rankings.

    Args:
        run: its directory.

    Raises:
        InspectionError: it keeps no curves.
    """
    panels = list(_panels(read_curves_of(run)))[:2]
    if not panels:
        raise InspectionError(
            f"{run.path}: no curves were logged here; logger=tensorboard and logger=csv keep them "
            "in the run"
        )
    return curves_figure({panel.ylabel: panel.curves for panel in panels})

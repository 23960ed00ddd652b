"""The figures of a run's report and of a comparison; one line for each run."""

from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_collab.inspection.curves import Curve
from lightning_collab.inspection.figures import STYLE, new_figure
from lightning_collab.inspection.predictions import Predictions


def curves_figure(curves: Mapping[str, Curve], ylabel: str) -> Figure:
    """Scalars over the optimiser steps.

    Args:
        curves: by what to call them.
        ylabel: of the figure.
    """
    figure, axes = _axes("optimiser step", ylabel)
    for name, curve in curves.items():
        marker = "." if len(curve.steps) < 60 else None
        axes.plot(curve.steps, curve.values, marker=marker, linewidth=1.3, label=name)
    axes.legend(frameon=False, fontsize=8)
    return figure


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
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], "k--", linewidth=0.8, label="ideal")
    axes.legend(frameon=False, fontsize=8)
    return figure


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
        if len(tables) == 1:
            axes.bar_label(bars, [f"{rows:,}" for rows in table["rows"]], fontsize=7)
    axes.set_xticks(range(len(order)), order, fontsize=7, rotation=20)
    if len(tables) > 1:
        axes.legend(frameon=False, fontsize=8)
    return figure


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
    axes.axhline(0, color="k", linewidth=0.8, linestyle="--")
    return figure


def _axes(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = new_figure()
    with rc_context(STYLE):
        axes = figure.add_subplot()
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
    return figure, axes

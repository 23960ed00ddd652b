"""The map as a picture: points coloured by genre, labelled where labels fit."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from lightning_collab.inspection.embedding_map import EmbeddingMap
from lightning_collab.inspection.figures import STYLE

LEGEND_ENTRIES = 18
TRIED_FOR_ONE = 12
"""Labels are tried for at most so many times as many points as are to be labelled."""


def map_picture(
    drawn: EmbeddingMap, *, labels: int = 80, width: float = 12.0, height: float = 9.0
) -> Figure:
    """Draw a map.

    Labels go to the most rated points first; one that would cover another label, or leave the
    picture, is left out.

    Args:
        drawn: the map.
        labels: how many at most.
        width: in inches.
        height: in inches.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        groups = np.array(drawn.groups)
        ratings = drawn.points["ratings"].to_numpy()
        for name, colour in list(drawn.colours.items()):
            mine = groups == name
            axes.scatter(
                drawn.positions[mine, 0],
                drawn.positions[mine, 1],
                s=6 + 30 * np.sqrt(ratings[mine] / max(1, ratings.max())),
                c=colour,
                alpha=0.75,
                linewidths=0,
                label=f"{name} ({mine.sum()})",
            )
        axes.set_title(drawn.title, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(
            handles[:LEGEND_ENTRIES],
            names[:LEGEND_ENTRIES],
            loc="outside right upper",
            frameon=False,
            fontsize=8,
        )
        figure.draw_without_rendering()  # lays out the axes, so that labels can be measured
        figure.set_layout_engine("none")
        order = np.argsort(-ratings, kind="stable")[: TRIED_FOR_ONE * labels]
        _label(figure, order, drawn, labels)
    return figure


def _label(
    figure: Figure,
    order: NDArray[np.int64],
    drawn: EmbeddingMap,
    labels: int,
) -> None:
    axes = figure.axes[0]
    inside = axes.get_window_extent()
    taken: list[Bbox] = []
    names = drawn.names
    for row in order:
        if len(taken) >= labels:
            return
        text = axes.annotate(
            names[row],
            tuple(drawn.positions[row]),
            xytext=(4, 2),
            textcoords="offset points",
            fontsize=6.5,
            alpha=0.9,
        )
        box = text.get_window_extent()
        fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0
        if not fits or box.y1 > inside.y1 or any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)

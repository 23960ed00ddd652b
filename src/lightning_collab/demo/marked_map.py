"""The map of the items, with those marked that somebody rated and those that are recommended."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from lightning_collab.inspection.embedding_map import EmbeddingMap, label_points
from lightning_collab.inspection.figures import STYLE

# Of Okabe and Ito's palette, which colour-blind people tell apart; the marks differ in form too.
COLOURS = {
    False: {"others": "#c8c8c8", "rated": "#d55e00", "recommended": "#0072b2", "text": "#31333f"},
    True: {"others": "#5c606b", "rated": "#e69f00", "recommended": "#56b4e9", "text": "#fafafa"},
}
MARKS = {"rated": ("o", 70), "recommended": ("D", 48)}
LONGEST = 32


def marked_map(
    drawn: EmbeddingMap,
    marked: Mapping[str, Collection[Any]],
    called: Mapping[str, str],
    *,
    dark: bool,
) -> Figure:
    """The figure.

    Args:
        drawn: the map of the items.
        marked: raw ids of those `rated` and `recommended`; what is not on the map is left out.
        called: what the legend calls each.
        dark: whether the page is.
    """
    colours = COLOURS[dark]
    place = {raw_id: number for number, raw_id in enumerate(drawn.points["item"])}
    names = drawn.names
    with rc_context({**STYLE, "text.color": colours["text"]}):
        figure = Figure(figsize=(7.0, 5.6), layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        x, y = drawn.positions.T
        axes.scatter(x, y, s=9, c=colours["others"], linewidths=0)
        at: dict[str, list[int]] = {}
        for kind, ids in marked.items():
            at[kind] = [place[raw_id] for raw_id in ids if raw_id in place]
            mark, size = MARKS[kind]
            x, y = drawn.positions[at[kind]].T
            axes.scatter(
                x, y, s=size, c=colours[kind], marker=mark, linewidths=0, label=called[kind]
            )
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        figure.legend(loc="outside upper left", ncols=2, frameon=False)
        figure.draw_without_rendering()  # lays out the axes, so that labels can be measured
        figure.set_layout_engine("none")
        rows = np.array([row for rows in at.values() for row in rows], dtype=np.int64)
        shown = [_short(names[row]) for row in rows]
        label_points(figure, drawn.positions[rows], shown, len(rows), fontsize=8.5, alpha=1)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"

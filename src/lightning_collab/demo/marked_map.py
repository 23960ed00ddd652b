"""The map of the items, with those marked that somebody rated and those that are recommended."""

import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from lightning_collab.inspection.embedding_map import EmbeddingMap
from lightning_collab.runs.drawing import STYLE
from lightning_collab.runs.text import printable

# Of Okabe and Ito's palette, which color-blind people tell apart; the marks differ in form too.
COLORS = {
    False: {"others": "#c8c8c8", "rated": "#d55e00", "recommended": "#0072b2", "text": "#31333f"},
    True: {"others": "#5c606b", "rated": "#e69f00", "recommended": "#56b4e9", "text": "#fafafa"},
}
MARKS = {"rated": ("o", 70), "recommended": ("D", 48)}
LONGEST = 32
# Points of a mark's half width, and between the mark and its label: beside it, else away from it.
HALF_MARK = 4.0
DISTANCES = (7.0, 22.0, 38.0, 56.0)
# To the right, left, above and below, then between these.
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


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
    colors = COLORS[dark]
    place = {raw_id: number for number, raw_id in enumerate(drawn.points["item"])}
    rows: list[int] = []
    with rc_context({**STYLE, "text.color": colors["text"]}):
        figure = Figure(figsize=(6.0, 5.0), layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        x, y = drawn.positions.T
        axes.scatter(x, y, s=9, c=colors["others"], linewidths=0)
        for kind, ids in marked.items():
            own = [place[raw_id] for raw_id in ids if raw_id in place]
            rows += own
            mark, size = MARKS[kind]
            axes.scatter(
                x[own],
                y[own],
                s=size,
                c=colors[kind],
                marker=mark,
                linewidths=0,
                label=called[kind],
            )
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        figure.legend(loc="outside upper left", ncols=2, frameon=False)
        figure.draw_without_rendering()  # lays out the axes, so that labels can be measured
        figure.set_layout_engine("none")
        names = drawn.names
        _label(figure, drawn.positions[rows], [_short(names[row]) for row in rows])
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a picture, wide enough for a large screen.

    Args:
        figure: of `marked_map`.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200)
    return buffer.getvalue()


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _label(figure: Figure, positions: NDArray[np.float64], names: Sequence[str]) -> None:
    """Names beside their points, else away from them at a line; none where there is no room."""
    axes = figure.axes[0]
    pixels = figure.dpi / 72  # of a point
    at = axes.transData.transform(positions) if len(positions) else positions
    half = HALF_MARK * pixels
    taken = [Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half) for x, y in at]
    for name, position, (x, y) in zip(names, positions, at, strict=True):
        text = axes.annotate(
            name,
            tuple(position),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "#909090", "shrinkB": 4},
        )
        size = text.get_window_extent()
        for distance, right, up in _offsets():
            left = x + right * distance * pixels + size.width * (right - 1) / 2
            bottom = y + up * distance * pixels + size.height * (up - 1) / 2
            box = Bbox.from_bounds(left, bottom, size.width, size.height)
            inside = figure.bbox.containsx(box.x0) and figure.bbox.containsx(box.x1)
            inside &= figure.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
            if inside and not any(box.overlaps(other) for other in taken):
                text.set_position(((left - x) / pixels, (bottom - y) / pixels))
                if distance == DISTANCES[0] and text.arrow_patch is not None:
                    text.arrow_patch.set_visible(False)
                taken.append(box)
                break
        else:
            text.remove()


def _offsets() -> list[tuple[float, int, int]]:
    return [(distance, *direction) for distance in DISTANCES for direction in DIRECTIONS]

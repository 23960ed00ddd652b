"""A map: positions in the plane, what is known of each point, and the picture of it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from lightning_collab.config.commands import MapMethod
from lightning_collab.data.vocabulary import Side
from lightning_collab.errors import InspectionError
from lightning_collab.inspection.embeddings import (
    BY_FEATURES,
    described,
    most_rated,
    side_embeddings,
)
from lightning_collab.inspection.figures import ShownFigure
from lightning_collab.inspection.layout import TITLES, TSNE_ITERATIONS, Ends, extremes, plane
from lightning_collab.runs.drawing import INK, STYLE, Look, look_of
from lightning_collab.training.trained_model import TrainedModel

# The first of these that there is gives the look of a point; what the legend calls it.
LOOK_COLUMNS = {"genre": "first genre", "occupation": "occupation"}
MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D"}
# The mark of a point that is known by its features alone.
RING: dict[str, Any] = {"s": 12, "facecolors": "none", "linewidths": 0.8}


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Embeddings in the plane.

    Attributes:
        title: of the map.
        side: `users` or `items`.
        method: of the layout.
        positions: float64 [n, 2].
        points: what is known of each, the name first; with `bias` where the model has one.
        vectors: float32 [n, factors], what was laid out.
        biases: float32 [n], or None.
    """

    title: str
    side: Side
    method: MapMethod
    positions: NDArray[np.float64]
    points: pl.DataFrame
    vectors: NDArray[np.float32]
    biases: NDArray[np.float32] | None

    @property
    def names(self) -> list[str]:
        """One for each point."""
        return _texts(self.points.to_series(0))

    @property
    def cold(self) -> NDArray[np.bool_]:
        """Bool [n]: who has no training ratings, and a place by its features alone."""
        return (self.points["ratings"] == 0).to_numpy()

    @property
    def groups(self) -> list[str]:
        """What gives each point its look: the first genre, or the occupation."""
        column = self._look_column
        return [self.side] * len(self.points) if column is None else _texts(self.points[column])

    @property
    def looks(self) -> dict[str, Look]:
        """Of each group, the largest first; a group has the same one in every map."""
        counts = Counter(self.groups)
        return {
            name: look_of(name) for name in sorted(counts, key=lambda name: (-counts[name], name))
        }

    @property
    def legend(self) -> str:
        """What color and mark stand for; empty where there is one group."""
        column = self._look_column
        return "" if column is None else f"color and shape: {LOOK_COLUMNS[column]}"

    @property
    def _look_column(self) -> str | None:
        return next((each for each in LOOK_COLUMNS if each in self.points.columns), None)

    def ends(self, count: int) -> list[Ends]:
        """Who is at the ends of the bias and of the main directions, of those with ratings.

        Args:
            count: rows at each end.
        """
        warm = np.flatnonzero(~self.cold)
        biases = None if self.biases is None else self.biases[warm]
        points = self.points[warm].drop("known_by", strict=False)
        return extremes(points, self.vectors[warm], biases, count=count)

    def page_data(self) -> dict[str, Any]:
        """The map as the page's script wants it: positions in 0 to 1, and what hovering shows."""
        low, high = self.positions.min(axis=0), self.positions.max(axis=0)
        span = np.where(high > low, high - low, 1.0)
        scaled = (self.positions - low) / span
        tags = self.points["genres"].str.split("|") if "genres" in self.points.columns else None
        return {
            "x": np.round(scaled[:, 0], 4).tolist(),
            # Screens count from the top.
            "y": np.round(1 - scaled[:, 1], 4).tolist(),
            "names": self.names,
            "groups": self.groups,
            "tags": tags.to_list() if tags is not None else [[group] for group in self.groups],
            "colors": {name: look.color for name, look in self.looks.items()},
            "marks": {name: look.mark for name, look in self.looks.items()},
            "legend": self.legend,
            "ratings": self.points["ratings"].to_list(),
            "cold": self.cold.tolist(),
            "statistics": [_statistics(row) for row in self.points.iter_rows(named=True)],
        }


def embedding_map(
    run: TrainedModel,
    side: Side,
    method: MapMethod,
    *,
    min_ratings: int = 0,
    max_points: int = 10_000,
    seed: int = 0,
    perplexity: float = 30.0,
    iterations: int = TSNE_ITERATIONS,
) -> EmbeddingMap:
    """Lay out the users or items of a run.

    Args:
        run: a trained run.
        side: `users` or `items`.
        method: of the layout.
        min_ratings: training ratings that a point must have, unless it is known by its features
            alone.
        max_points: at most so many points, the most rated.
        seed: of t-SNE and UMAP.
        perplexity: of t-SNE.
        iterations: of t-SNE.

    Raises:
        InspectionError: the model has no such embeddings, or too few points are left.
    """
    learned = side_embeddings(run.model, side)
    known = run.items if side == "items" else run.users
    ratings = known["ratings"].to_numpy()
    # A place by features is no less sure for want of ratings: too few of them are what is noisy.
    enough = np.flatnonzero((ratings >= min_ratings) | (ratings == 0))
    if len(enough) < 3:
        raise InspectionError(
            f"{len(enough)} {side} have {min_ratings} training ratings or more, too few for a map; "
            "lower min_ratings"
        )
    rows = enough[most_rated(known[enough], max_points)]
    vectors = learned.vectors.numpy()[rows]
    points = described(known[rows], side)
    biases = None if learned.biases is None else learned.biases.numpy()[rows]
    if biases is not None:
        points = points.with_columns(bias=pl.Series(biases))
    left_out = f", the most rated of {len(enough):,}" if len(rows) < len(enough) else ""
    return EmbeddingMap(
        title=f"{TITLES[method]} of {len(rows):,} {side}{left_out} ({run.model_name})",
        side=side,
        method=method,
        positions=plane(vectors, method, seed=seed, perplexity=perplexity, iterations=iterations),
        points=points,
        vectors=vectors,
        biases=biases,
    )


def _texts(column: pl.Series) -> list[str]:
    return [str(value) for value in column]


def _statistics(row: dict[str, Any]) -> str:
    """What hovering says below the name."""
    shown = []
    for column, value in list(row.items())[1:]:
        if value is None or column in ("genre", "year", "item", "user"):
            continue
        if column == "known_by":
            shown += [f"known by {value}"] if value == BY_FEATURES else []
            continue
        if column == "ratings" and not value:
            continue
        name = column.replace("_", " ")
        if column == "genres":
            several = f" (color: {row['genre']})" if "|" in value else ""
            shown.append(str(value).replace("|", ", ") + several)
        elif isinstance(value, float):
            shown.append(f"{name} {value:.2f}")
        elif isinstance(value, int):
            shown.append(f"{value:,} ratings" if column == "ratings" else f"{name} {value}")
        else:
            shown.append(str(value))
    return " · ".join(shown)


LEGEND_ENTRIES = 30
# Labels are tried for at most so many times as many points as are to be labeled.
TRIED_FOR_ONE = 12


def map_picture(
    drawn: EmbeddingMap, *, labels: int = 80, size: tuple[float, float] = (12.0, 9.0)
) -> Figure:
    """Draw a map.

    Labels go to the most rated points first; one that would cover another label, or leave the
    picture, is left out.

    Args:
        drawn: the map.
        labels: how many at most.
        size: width and height, in inches.
    """
    with rc_context(STYLE):
        figure = ShownFigure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        groups = np.array(drawn.groups)
        ratings = drawn.points["ratings"].to_numpy()
        for number, (name, look) in enumerate(drawn.looks.items()):
            mine = groups == name
            ring = {**RING, "marker": MARKERS[look.mark]}
            warm = mine & ~drawn.cold
            x, y = drawn.positions[warm].T
            axes.scatter(
                x,
                y,
                s=6 + 30 * np.sqrt(ratings[warm] / max(1, ratings.max())),
                c=look.color,
                marker=MARKERS[look.mark],
                alpha=0.75,
                linewidths=0,
                label=f"{name} ({mine.sum()})" if number < LEGEND_ENTRIES else None,
            )
            axes.scatter(*drawn.positions[mine & drawn.cold].T, edgecolors=look.color, **ring)
        if drawn.cold.any():
            axes.scatter(
                [], [], edgecolors=INK, **RING, label=f"known by {BY_FEATURES} ({drawn.cold.sum()})"
            )
        axes.set_title(drawn.title, loc="left")
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        more = len(drawn.looks) - LEGEND_ENTRIES
        if more > 0:
            axes.scatter([], [], marker="None", label=f"and {more:,} more")
        figure.legend(loc="outside right upper", frameon=False, fontsize=8, title=drawn.legend)
        figure.draw_without_rendering()  # lays out the axes, so that labels can be measured
        figure.set_layout_engine("none")
        order = np.argsort(-ratings, kind="stable")[: TRIED_FOR_ONE * labels]
        _label(figure, order, drawn, labels)
    return figure


def _label(figure: Figure, order: NDArray[np.int64], drawn: EmbeddingMap, labels: int) -> None:
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

"""Figures as files and as parts of a page."""

import base64
import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from lightning_collab.training.whole_file import write_whole

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.constrained_layout.use": True,
    # Titles of films may have dollars in them.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lightning-collab",
}


def new_figure(width: float = 6.4, height: float = 3.4) -> Figure:
    """An empty figure; made without pyplot, so that nothing is kept or shown.

    Args:
        width: in inches.
        height: in inches.
    """
    with rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def data_uri(figure: Figure) -> str:
    """The figure as an SVG image inside an address, for `<img src=...>`.

    Args:
        figure: what is shown.
    """
    buffer = io.BytesIO()
    with rc_context(STYLE):
        # Without a date, the same figure gives the same bytes.
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def save_png(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write the figure as a PNG, whole or not at all.

    Args:
        figure: what is shown.
        path: of the file; its folder is made.
        dpi: pixels to an inch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    write_whole(path, buffer.getvalue())

"""The look of all pictures: colors that are safe for color-blind eyes, and figures as files."""

import base64
import io
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from cycler import cycler
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from lightning_collab.runs.files import write_atomically

# Paul Tol's "bright": blue, yellow, red, purple, green, cyan; readable on white and on black.
COLORS = ("#4477AA", "#CCBB44", "#EE6677", "#AA3377", "#228833", "#66CCEE")
GREY = "#999999"
# With these, six colors tell 24 names apart.
MARKS = ("circle", "square", "triangle", "diamond")

# From the most frequent on, so that these differ by color alone.
GENRES = (
    *("Drama", "Comedy", "Action", "Horror", "Documentary", "Adventure"),
    *("Thriller", "Children's|Children", "War", "Film-Noir", "Animation", "Sci-Fi"),
    *("Romance", "Musical", "Western", "Mystery", "Fantasy", "Crime"),
    "IMAX",
)
# Of ML-100K, then as ML-1M calls them.
OCCUPATIONS = (
    *("student|college/grad student", "educator|academic/educator", "engineer", "programmer"),
    *("executive|executive/managerial", "writer", "technician|technician/engineer"),
    *("administrator|clerical/admin", "healthcare", "artist", "doctor|doctor/health care"),
    *("scientist", "marketing|sales/marketing", "retired", "librarian", "lawyer"),
    *("entertainment", "homemaker", "salesman|customer service", "self-employed"),
    *("K-12 student", "tradesman/craftsman", "farmer"),
)
# What is nothing in particular.
NEITHER = ("no genre", "unknown", "(no genres listed)", "none", "other", "unemployed")


class Look(NamedTuple):
    """How a point of a group is drawn."""

    color: str
    mark: str


def look_of(name: str) -> Look:
    """The look of a genre or occupation: by its name alone, the same in every picture.

    A name that MovieLens does not have gets one by its letters, which two may share.

    Args:
        name: of the group.
    """
    return KNOWN.get(name) or _look(crc32(name.encode()))


def _look(number: int) -> Look:
    return Look(COLORS[number % len(COLORS)], MARKS[number // len(COLORS) % len(MARKS)])


KNOWN = {
    **{
        name: _look(number)
        for listed in (GENRES, OCCUPATIONS)
        for number, names in enumerate(listed)
        for name in names.split("|")
    },
    **dict.fromkeys(NEITHER, Look(GREY, MARKS[0])),
}


# As in style.css. A page that is dark puts other colors in their place.
INK, PAPER = "#1c2430", "#fefefe"
ON_DARK = {INK: ("ink", "#e4e8ee"), PAPER: ("paper", "#14181f")}
DASHES = ("-", "--", ":")
HATCHES = ("", "////", "....")
# From low to high, visible on white and on black.
SCALE = LinearSegmentedColormap.from_list("low to high", [COLORS[5], COLORS[0], COLORS[3]])

LINES = ("boxprops", "whiskerprops", "capprops", "flierprops", "medianprops")
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.prop_cycle": cycler(linestyle=DASHES) * cycler(color=COLORS),
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.color": "#8a93a0",
    "figure.constrained_layout.use": True,
    # Titles of films may have dollars in them.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lightning-collab",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "patch.edgecolor"), INK),
    **{f"boxplot.{line}.color": INK for line in LINES},
}


def svg_address(figure: Figure) -> str:
    """The figure as an SVG image inside an address, for `<img src=...>`; light or dark as the page.

    Args:
        figure: what is shown.
    """
    buffer = io.BytesIO()
    with rc_context(STYLE):
        # Without a date, the same figure gives the same bytes.
        figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="none")
    text = buffer.getvalue().decode()
    for color, (name, _) in ON_DARK.items():
        text = text.replace(f": {color}", f": var(--{name})")
    light = "".join(f"--{name}:{color};" for color, (name, _) in ON_DARK.items())
    dark = "".join(f"--{name}:{color};" for name, color in ON_DARK.values())
    rules = f"svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}"
    text = text.replace("<defs>", f"<style>{rules}</style><defs>", 1)
    return f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"


def save_png(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write the figure as a PNG, whole or not at all.

    Args:
        figure: what is shown.
        path: of the file; its folder is made.
        dpi: pixels to an inch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    write_atomically(path, buffer.getvalue())

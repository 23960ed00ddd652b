"""The colors of all pictures: safe for color-blind eyes, and the same for a name everywhere."""

from typing import NamedTuple
from zlib import crc32

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

"""What the releases of MovieLens have in common: where they come from, and how they are read."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl
from platformdirs import user_cache_path

from lightning_collab.data.column_rules import rating_rules
from lightning_collab.data.download import Server, obtain
from lightning_collab.data.files.text_columns import read_text_columns
from lightning_collab.data.files.text_format import TextFormat
from lightning_collab.data.rating_table import RatingTable, with_one_rating_each
from lightning_collab.errors import DataError
from lightning_collab.runs.files import sum_of

ENVIRONMENT_VARIABLE = "LIGHTNING_COLLAB_DATA"


def root_folder(root: str | None) -> Path:
    """The folder of the raw files.

    Args:
        root: `data.root`; None: the environment variable LIGHTNING_COLLAB_DATA, and where that is
            not set either, the user's cache folder.
    """
    if root is None:
        root = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(root).expanduser() if root else user_cache_path("lightning-collab") / "data"


def release_year(title: pl.Expr) -> pl.Expr:
    """The last year in parentheses of titles such as `2001: A Space Odyssey (1968)`.

    Args:
        title: String.

    Returns:
        Int32, null where there is none.
    """
    return title.str.extract(r"^.*\((\d{4})\)").cast(pl.Int32)


log = logging.getLogger(__name__)

RATING_COLUMNS: Mapping[str, pl.DataType] = {
    "user": pl.Int64(),
    "item": pl.Int64(),
    "rating": pl.Float32(),
    "timestamp": pl.Int64(),
}

CSV_FILES = ("README.txt", "ratings.csv", "movies.csv", "tags.csv", "links.csv")
TABLE_FILES = ("ratings.csv", "movies.csv", "ratings.dat", "movies.dat", "users.dat")
HALF_STARS = (0.5, 5.0)
COMMAS = TextFormat(",", has_header=True, quote_char='"')


class ReleaseFrames(NamedTuple):
    """What the files of a release say.

    Attributes:
        ratings: `user`, `item`, `rating`, `timestamp` in the order of the file.
        users: as `RatingTable.user_features`.
        items: as `RatingTable.item_features`.
    """

    ratings: pl.DataFrame
    users: pl.DataFrame | None
    items: pl.DataFrame | None


@dataclass(frozen=True)
class Release:
    """One release of MovieLens.

    Attributes:
        name: of the data set.
        folder: below `data.root`.
        read: the files in it.
        rating_range: lowest and highest rating.
        notice: its license and how to cite it, shown when it is downloaded.
        server: where it can be had; None: nowhere any more.
        sha256: sums of its files, by name, as far as they are known.
    """

    name: str
    folder: str
    read: Callable[[Path], ReleaseFrames]
    rating_range: tuple[float, float]
    notice: str
    server: Server | None
    sha256: Mapping[str, str] = field(default_factory=dict)


def obtained(release: Release, root: Path) -> list[Path]:
    """The files of a release that tables are made of, fetched first where they are not there.

    Args:
        release: which.
        root: folder of the raw files.

    Raises:
        DataError: the files can be found nowhere.
    """
    folder = root / release.folder
    if not folder.is_dir():
        if release.server is None:
            raise DataError(_by_hand(release, folder))
        log.info(release.notice)
        obtain(folder, [release.server], by_hand=_by_hand(release, folder))
    return [folder / name for name in TABLE_FILES if (folder / name).is_file()]


def load_release(release: Release, root: Path) -> RatingTable:
    """Read a release from its folder, fetching it first where it is not there.

    Args:
        release: which.
        root: folder of the raw files.

    Raises:
        DataError: the files can be found nowhere, or one of them does not parse.
    """
    obtained(release, root)
    folder = root / release.folder
    frames = release.read(folder)
    for name, expected in release.sha256.items():
        if (folder / name).is_file() and sum_of(folder / name) != expected:
            log.warning("%s is not the file of the release (another sha256)", folder / name)
    table = RatingTable.of_checked(
        frames.ratings,
        name=release.name,
        rating_range=release.rating_range,
        user_features=frames.users,
        item_features=frames.items,
    )
    return with_one_rating_each(table, "error")


def _by_hand(release: Release, folder: Path) -> str:
    """How a person can put the files there."""
    if release.server is not None:
        return (
            f"To put it there by hand, download {release.server.url} and unpack it so that\n"
            f"  {folder} is the folder with the files, or set data.root (or "
            f"LIGHTNING_COLLAB_DATA) to a folder that has {release.folder}/."
        )
    sums = "\n".join(f"  {sha256}  {name}" for name, sha256 in release.sha256.items())
    return (
        f"{folder}: not there, and GroupLens no longer offers this edition\n"
        f"To use it, put a copy of its files into that folder, or set data.root (or "
        f"LIGHTNING_COLLAB_DATA) to a folder that has {release.folder}/. Their sha256:\n{sums}"
    )


def read_csv_files(folder: Path) -> ReleaseFrames:
    """The releases since 2015: ratings.csv and movies.csv, UTF-8, with headers.

    Args:
        folder: of the files; movies.csv may be missing.

    Raises:
        DataError: a file does not parse.
    """
    ratings = read_ratings(folder / "ratings.csv", COMMAS)
    items = None
    if (folder / "movies.csv").is_file():
        schema = {"item": pl.Int64(), "title": pl.String(), "genres": pl.String()}
        frame = read_text_columns(folder / "movies.csv", schema, COMMAS)
        items = items_with_genres(frame)
    return ReleaseFrames(ratings, None, items)


def read_ratings(
    path: Path,
    text: TextFormat,
    positions: Sequence[int] | None = None,
    *,
    schema: Mapping[str, pl.DataType] = RATING_COLUMNS,
    rating_range: tuple[float, float] = HALF_STARS,
) -> pl.DataFrame:
    """Users, items, ratings and timestamps of any release.

    Args:
        path: of the file.
        text: its format.
        positions: of the four columns, counted from 0; None: the first four.
        schema: their names and types.
        rating_range: lowest and highest rating.

    Raises:
        DataError: the file does not parse.
    """
    ids = {side: schema[side] for side in ("user", "item")}
    rules = rating_rules(ids=ids, others=("rating", "timestamp"), rating_range=rating_range)
    return read_text_columns(path, schema, text, positions=positions, rules=rules)


def items_with_genres(frame: pl.DataFrame) -> pl.DataFrame:
    """Item features from titles and genres such as `Adventure|Children`.

    Args:
        frame: `item`, `title` and `genres` (String).

    Returns:
        `item`, `title`, `year` and `genres` (list of strings, empty where none is listed).
    """
    listed = pl.col("genres").replace("(no genres listed)", None).str.split("|")
    title = pl.col("title").str.strip_chars()
    return frame.select("item", title=title, year=release_year(title), genres=listed.fill_null([]))

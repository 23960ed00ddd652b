"""MovieLens 100K: 100,000 ratings of 1,682 films by 943 people, 1997 to 1998.

F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM
Transactions on Interactive Intelligent Systems 5, 4, Article 19. DOI 10.1145/2827872

The archive of GroupLens has each official fold as two files, which repeat ratings of u.data. Their
rows follow from its order, so that a copy of the ratings without the files has the folds as well.
"""

import logging
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.data.download import PackageIndex, Place, Server, obtain
from lightning_collab.data.files.text_columns import read_text_columns
from lightning_collab.data.files.text_format import TextFormat
from lightning_collab.data.rating_table import RatingTable, with_one_rating_each
from lightning_collab.data.sources.movielens import (
    RATING_COLUMNS,
    ReleaseFrames,
    read_ratings,
    release_year,
)
from lightning_collab.errors import DataError
from lightning_collab.runs.files import sum_of

FIFTHS = ("u1", "u2", "u3", "u4", "u5")
TEN_OF_EACH_USER = ("ua", "ub")
FOLDS = (*FIFTHS, *TEN_OF_EACH_USER)
ROWS_OF_A_FIFTH = 20_000
ROWS_OF_A_USER = 10


def official_folds(users: pl.Series) -> dict[str, NDArray[np.int32]]:
    """The test rows of each fold; all other rows are its base.

    u1 to u5 are the first 20,000 rows, the next, and so on; ua and ub are the first ten rows of
    each user and the next ten.

    Args:
        users: of the 100,000 ratings, in the order of the release; in any other order the rows
            would be no official folds.
    """
    earlier = users.to_frame("user").select(pl.int_range(pl.len()).over("user")).to_series()
    fifth = np.arange(len(users)) // ROWS_OF_A_FIFTH
    ten = earlier.to_numpy() // ROWS_OF_A_USER
    rows = {fold: fifth == number for number, fold in enumerate(FIFTHS)}
    rows |= {fold: ten == number for number, fold in enumerate(TEN_OF_EACH_USER)}
    return {fold: np.flatnonzero(chosen).astype(np.int32) for fold, chosen in rows.items()}


log = logging.getLogger(__name__)

FOLDER = "ml-100k"
NOTICE = (
    "MovieLens 100K is for research use; it may not be redistributed or used commercially without "
    "permission from GroupLens. Cite: Harper and Konstan (2015), DOI 10.1145/2827872."
)

# The sum of the archive is the one that the GroupLens mirrors and several projects publish; its
# MD5 at GroupLens (ml-100k.zip.md5) is 0e33842e24a9c977be4e0107933c0723.
GROUPLENS = Server(
    url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    members={
        f"ml-100k/{name}": name
        for name in (
            "README",
            "u.data",
            "u.item",
            "u.user",
            "u.genre",
            *(f"{fold}.{part}" for fold in FOLDS for part in ("base", "test")),
        )
    },
)
# The same ratings in the same order, without the files of the official folds.
RECBOLE_WHEEL = PackageIndex(
    requirement="recbole==1.2.1",
    sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    members={
        f"recbole/dataset_example/ml-100k/ml-100k.{kind}": f"ml-100k.{kind}"
        for kind in ("inter", "item", "user")
    },
)
RATINGS_SHA256 = {
    "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
}
PLACES: list[Place] = [GROUPLENS, RECBOLE_WHEEL]

TABS = TextFormat("\t", has_header=False)
BARS = TextFormat("|", has_header=False, encoding="latin-1")
TABS_WITH_HEADER = TextFormat("\t", has_header=True)

RATING_RANGE = (1.0, 5.0)
USER_COLUMNS = {
    "user": pl.Int64(),
    "age": pl.Int32(),
    "gender": pl.String(),
    "occupation": pl.String(),
}
GENRES = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]


def obtained(root: Path) -> list[Path]:
    """The files that the table is made of, fetched first where they are not there.

    Args:
        root: folder of the raw files.

    Raises:
        DataError: the files can be found nowhere.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        by_hand = (
            f"To put it there by hand, download {GROUPLENS.url} and unpack it so that\n"
            f"  {folder / 'u.data'}\nexists, or set data.root (or LIGHTNING_COLLAB_DATA) to a "
            f"folder that has {FOLDER}/."
        )
        log.info(NOTICE)
        obtain(folder, PLACES, by_hand=by_hand)
    names = ("u.data", "u.item", "u.user", *(f"{fold}.test" for fold in FOLDS))
    names += tuple(RECBOLE_WHEEL.members.values())
    return [folder / name for name in names if (folder / name).is_file()]


def load(root: Path) -> RatingTable:
    """Read MovieLens 100K from `root/ml-100k`, fetching it first where it is not there.

    Args:
        root: folder of the raw files.

    Raises:
        DataError: the files can be found nowhere, or one of them does not parse.
    """
    obtained(root)
    folder = root / FOLDER
    path, read = folder / "u.data", _grouplens_files
    if not path.is_file() and (folder / "ml-100k.inter").is_file():
        path, read = folder / "ml-100k.inter", _recbole_files
    frames = read(folder)
    table = RatingTable.of_checked(
        frames.ratings,
        name="ml_100k",
        rating_range=RATING_RANGE,
        user_features=frames.users,
        item_features=frames.items,
        parts=_folds(frames.ratings, path),
    )
    return with_one_rating_each(table, "error")


def _grouplens_files(folder: Path) -> ReleaseFrames:
    ratings = read_ratings(folder / "u.data", TABS, rating_range=RATING_RANGE)
    users = items = None
    if (folder / "u.user").is_file():
        users = read_text_columns(folder / "u.user", USER_COLUMNS, BARS)
    if (folder / "u.item").is_file():
        items = _items_of_grouplens(folder / "u.item")
    return ReleaseFrames(ratings, users, items)


def _folds(ratings: pl.DataFrame, path: Path) -> dict[str, NDArray[np.int32]]:
    """The test rows of each official fold.

    The release's own ratings say them. Files of folds beside these are only compared; beside other
    ratings they are all that is known.
    """
    there = {fold: path.with_name(f"{fold}.test") for fold in FOLDS}
    there = {fold: each for fold, each in there.items() if each.is_file()}
    if sum_of(path) != RATINGS_SHA256[path.name]:
        log.warning(
            "%s is not the file of the release (another sha256); using its %d ratings; official "
            "folds, from files beside it: %s",
            path,
            len(ratings),
            ", ".join(there) or "none",
        )
        return {fold: _test_rows(ratings, each) for fold, each in there.items()}
    folds = official_folds(ratings["user"])
    for fold, each in there.items():
        differing = len(np.setxor1d(folds[fold], _test_rows(ratings, each)))
        if differing:
            raise DataError(
                f"{each} is not the test part of the release: {differing} ratings are in only one "
                "of the two; unpack the archive of GroupLens again, or remove the file: it is not "
                "needed"
            )
    return folds


def _test_rows(ratings: pl.DataFrame, path: Path) -> NDArray[np.int32]:
    """Where the ratings of an official test file are in u.data; u*.base is all the others."""
    test = read_ratings(path, TABS, rating_range=RATING_RANGE)
    rows = ratings.with_row_index("row").join(test, on=list(RATING_COLUMNS), how="semi")
    if len(rows) != len(test):
        raise DataError(
            f"{path}: {len(test) - len(rows)} of its {len(test)} ratings are not in u.data beside "
            "it; unpack the archive of GroupLens again"
        )
    return rows["row"].cast(pl.Int32).to_numpy()


def _items_of_grouplens(path: Path) -> pl.DataFrame:
    schema: dict[str, pl.DataType] = {"item": pl.Int64(), "title": pl.String()}
    schema |= dict.fromkeys(("release_date", "video_date", "url"), pl.String())
    schema |= dict.fromkeys(GENRES, pl.Int8())
    frame = read_text_columns(path, schema, BARS)
    genres = pl.concat_list(
        pl.when(pl.col(name) == 1).then(pl.lit(name)) for name in GENRES
    ).list.drop_nulls()
    title = pl.col("title").str.strip_chars()
    return frame.select("item", title=title, year=release_year(title), genres=genres)


def _recbole_files(folder: Path) -> ReleaseFrames:
    columns = {**RATING_COLUMNS, "timestamp": pl.Float64()}
    path = folder / "ml-100k.inter"
    ratings = read_ratings(path, TABS_WITH_HEADER, schema=columns, rating_range=RATING_RANGE)
    ratings = ratings.with_columns(pl.col("timestamp").cast(pl.Int64))
    users = read_text_columns(folder / "ml-100k.user", USER_COLUMNS, TABS_WITH_HEADER)
    schema: dict[str, pl.DataType] = {"item": pl.Int64()}
    schema |= dict.fromkeys(("name", "suffix", "genres"), pl.String())
    items = read_text_columns(folder / "ml-100k.item", schema, TABS_WITH_HEADER)
    # This copy keeps the end of the title apart, and writes its one unnamed film "unkonwn".
    title = (
        pl.when(pl.col("name") == "unkonwn")
        .then(pl.lit("unknown"))
        .otherwise(pl.format("{} ({})", "name", "suffix"))
    )
    genres = pl.col("genres").str.split(" ")
    items = items.select("item", title=title, year=release_year(title), genres=genres)
    return ReleaseFrames(ratings, users, items)

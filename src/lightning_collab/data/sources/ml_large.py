"""The larger releases of MovieLens (1M, 10M, 20M, 25M and 32M), and latest-small of 2018 and 2016.

GroupLens keeps only the latest edition of latest-small under its name; a model of the other is only
comparable where one knows which it was trained on.
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from lightning_collab.data.download import Server
from lightning_collab.data.files.text_columns import read_text_columns
from lightning_collab.data.files.text_format import TextFormat
from lightning_collab.data.sources.movielens import (
    CSV_FILES,
    HALF_STARS,
    Release,
    ReleaseFrames,
    items_with_genres,
    read_csv_files,
    read_ratings,
)

NOTICE = (
    "MovieLens {} is for research use; it may not be redistributed or used commercially without "
    "permission from GroupLens (see its README). Cite: Harper and Konstan (2015), "
    "DOI 10.1145/2827872."
)
ADDRESS = "https://files.grouplens.org/datasets/movielens"

# A separator of two characters is read as one, with an empty column between each two.
COLONS = TextFormat(":", has_header=False)
POSITIONS = (0, 2, 4, 6)
USER_COLUMNS: dict[str, pl.DataType] = {
    "user": pl.Int64(),
    "gender": pl.String(),
    "age": pl.Int32(),
    "occupation": pl.Int32(),
}
WHOLE_LINES = {
    "utf8": TextFormat("\x1f", has_header=False),
    "latin-1": TextFormat("\x1f", has_header=False, encoding="latin-1"),
}
# Of the codes in users.dat, from its README.
OCCUPATIONS = (
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)


def read_dat_files(folder: Path, encoding: str) -> ReleaseFrames:
    """The releases before 2015: ratings.dat, movies.dat and users.dat, separated by `::`.

    Args:
        folder: of the files; all but the ratings may be missing.
        encoding: of movies.dat.

    Returns:
        `age` is the youngest of the age group (1: under 18).

    Raises:
        DataError: a file does not parse.
    """
    ratings = read_ratings(folder / "ratings.dat", COLONS, POSITIONS)
    users = items = None
    if (folder / "users.dat").is_file():
        path = folder / "users.dat"
        frame = read_text_columns(path, USER_COLUMNS, COLONS, positions=POSITIONS)
        named = pl.col("occupation").replace_strict(
            dict(enumerate(OCCUPATIONS)), default=None, return_dtype=pl.String
        )
        users = frame.select("user", "age", "gender", occupation=named)
    if (folder / "movies.dat").is_file():
        lines = read_text_columns(
            folder / "movies.dat", {"line": pl.String()}, WHOLE_LINES[encoding]
        )
        # A title may have a colon in it.
        fields = pl.col("line").str.extract_groups(r"^(?<item>\d+)::(?<title>.*)::(?<genres>.*)$")
        frame = lines.select(fields).unnest("line").with_columns(pl.col("item").cast(pl.Int64))
        items = items_with_genres(frame.drop_nulls("item"))
    return ReleaseFrames(ratings, users, items)


def _release(size: str, files: tuple[str, ...], md5: str, folder: str | None = None) -> Release:
    folder = folder or f"ml-{size.lower()}"
    csv = "ratings.csv" in files
    encoding = "latin-1" if size == "1M" else "utf8"
    return Release(
        name=f"ml_{size.lower()}",
        folder=folder,
        read=read_csv_files if csv else lambda path: read_dat_files(path, encoding),
        rating_range=(1.0, 5.0) if size == "1M" else HALF_STARS,
        notice=NOTICE.format(size),
        server=Server(
            url=f"{ADDRESS}/ml-{size.lower()}.zip",
            members={f"{folder}/{name}": name for name in files},
            md5=md5,
        ),
    )


RELEASES = {
    release.name: release
    for release in (
        _release(
            "1M",
            ("README", "ratings.dat", "movies.dat", "users.dat"),
            md5="c4d9eecfca2ab87c1945afe126590906",
        ),
        _release(
            "10M",
            ("README.html", "ratings.dat", "movies.dat", "tags.dat"),
            md5="ce571fd55effeba0271552578f2648bd",
            folder="ml-10M100K",
        ),
        _release("20M", CSV_FILES, md5="cd245b17a1ae2cc31bb14903e1204af3"),
        _release("25M", CSV_FILES, md5="6b51fb2759a8657d3bfcbfc42b592ada"),
        _release("32M", CSV_FILES, md5="d472be332d4daa821edc399621853b57"),
    )
}


NOTICE_OF_SMALL = (
    "MovieLens latest-small is for research use; it may be redistributed under the same license "
    "but not used commercially without permission from GroupLens. Cite: Harper and Konstan (2015), "
    "DOI 10.1145/2827872."
)

LATEST = Release(
    name="ml_latest_small",
    folder="ml-latest-small",
    read=read_csv_files,
    rating_range=HALF_STARS,
    notice=NOTICE_OF_SMALL,
    server=Server(
        url="https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
        members={f"ml-latest-small/{name}": name for name in CSV_FILES},
    ),
    sha256={
        "ratings.csv": "aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646",
        "movies.csv": "5a5f32dd9bb3797b8e728a1b98958789d2b13f294a69fdfbc5727f8a9611aa07",
    },
)
EDITIONS = {
    2018: LATEST,
    2016: replace(
        LATEST,
        folder="ml-latest-small-2016",
        server=None,
        sha256={
            "ratings.csv": "821795331fd974bbe7a8416f2a7eec2b548a485dedb47a073580b0a9a8a0a8d2",
            "movies.csv": "a87480009b75ecd8d1e8f70700c534b6aefd57eed31b087ce8268ef6061a166c",
        },
    ),
}

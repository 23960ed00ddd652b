"""MovieLens latest-small, in its editions of 2018 and 2016.

GroupLens keeps only the latest edition under this name; a model of the other is only comparable
where one knows which it was trained on.
"""

from dataclasses import replace

from lightning_collab.data.download import Server
from lightning_collab.data.sources.movielens import CSV_FILES, HALF_STARS, Release, read_csv_files

NOTICE = (
    "MovieLens latest-small is for research use; it may be redistributed under the same license "
    "but not used commercially without permission from GroupLens. Cite: Harper and Konstan (2015), "
    "DOI 10.1145/2827872."
)

LATEST = Release(
    name="ml_latest_small",
    folder="ml-latest-small",
    read=read_csv_files,
    rating_range=HALF_STARS,
    notice=NOTICE,
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

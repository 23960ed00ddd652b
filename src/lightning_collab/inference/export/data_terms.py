"""Under which terms the data of a run may be used, as its model card says."""

from typing import Any

CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan (2015). The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. "
    "https://doi.org/10.1145/2827872"
)
_MOVIELENS = (
    "MovieLens data of GroupLens, University of Minnesota, under GroupLens' terms "
    "(https://grouplens.org/datasets/movielens/, the README of the release is what holds): for "
    "research; acknowledge the data set in publications; state or imply no endorsement by the "
    "University of Minnesota or GroupLens; no commercial or revenue-bearing use without permission "
    "from a faculty member of GroupLens; no warranty. "
)
_NOT_FURTHER = "The data must not be redistributed without separate permission. "
_FURTHER = "The data may be redistributed, transformations included, under the same conditions. "
RELEASES = {
    "ml_100k": "MovieLens 100K (1998)",
    "ml_1m": "MovieLens 1M (2003)",
    "ml_10m": "MovieLens 10M (2009)",
    "ml_20m": "MovieLens 20M (2015)",
    "ml_25m": "MovieLens 25M (2019)",
    "ml_32m": "MovieLens 32M (2024)",
    "ml_latest_small": "MovieLens latest-small",
}


def data_name(data: dict[str, Any]) -> str:
    """What a person calls the data.

    Args:
        data: the `data` section of a run's config.
    """
    name = str(data.get("name"))
    if name == "ml_latest_small":
        return f"{RELEASES[name]}, edition {data.get('edition')}"
    if name == "csv":
        return "a file of its owner"
    return RELEASES.get(name, f"{name} ratings")


def data_terms(data: dict[str, Any]) -> str:
    """A paragraph on licence and citation.

    Args:
        data: the `data` section of a run's config.
    """
    name = str(data.get("name"))
    if name == "synthetic":
        return "Synthetic ratings, drawn by lightning-collab; nobody's data, no terms."
    if name not in RELEASES:
        return (
            "The terms of the data are those of its owner. **Say here what they are before you "
            "pass this model on**: factors are made of ratings, and the vocabularies hold the ids."
        )
    # The licence differs from release to release; where it is not known, the stricter holds.
    further = _FURTHER if name == "ml_latest_small" else _NOT_FURTHER
    return f"{_MOVIELENS}{further}\n\nCite: {CITATION}"

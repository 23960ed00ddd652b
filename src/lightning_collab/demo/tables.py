"""The tables of the page: recommendations with their reasons, and neighbors of an item."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from lightning_collab.api.trained_run import TrainedRun
from lightning_collab.inference.recommendation import reason
from lightning_collab.runs.text import filled_in, printable

SHOWN = 10


class Row(NamedTuple):
    """A row of a table: an item, and what is said of it.

    Attributes:
        name: title or id.
        below: genres, where there are.
        number: the prediction or the similarity.
        further: reasons, or the number of ratings.
    """

    name: str
    below: str
    number: str
    further: str


def recommended(run: TrainedRun, given: Mapping[Any, float], min_ratings: int) -> pl.DataFrame:
    """What somebody is recommended who rated some items, or chose them where the run ranks.

    Args:
        run: the trained run.
        given: raw id -> rating, which counts for nothing where the run ranks; at least one.
        min_ratings: training ratings that a recommended item must have.

    Returns:
        As of `TrainedRun.recommend`.

    Raises:
        LightningCollabError: as of `TrainedRun.recommend`; above all, nothing can be said of
            somebody new.
    """
    top_k = min(SHOWN, len(run.items))
    if run.ranks:
        return run.recommend(items=list(given), top_k=top_k, min_ratings=min_ratings)
    return run.recommend(ratings=given, top_k=top_k, min_ratings=min_ratings)


def check_somebody_new(run: TrainedRun) -> None:
    """Refuse a run that says nothing of somebody who rates items on the page.

    Args:
        run: the trained run.

    Raises:
        LightningCollabError: as of `recommended`.
    """
    recommended(run, {run.items["item"][0]: run.rating_range[1]}, 0)


def recommended_rows(found: pl.DataFrame) -> list[Row]:
    """The rows of recommendations.

    Args:
        found: from `recommended`.
    """
    score = "score" if "score" in found.columns else "prediction"
    return [
        Row(
            _name(row),
            _genres(row),
            f"{row[score]:.2f}",
            "; ".join(printable(reason(each)) for each in row["because_of"]),
        )
        for row in found.iter_rows(named=True)
    ]


def similar_rows(found: pl.DataFrame) -> list[Row]:
    """The rows of neighbors.

    Args:
        found: from `TrainedRun.similar`.
    """
    return [
        Row(_name(row), _genres(row), f"{row['similarity']:.2f}", f"{row['ratings']:,}")
        for row in found.iter_rows(named=True)
    ]


def table_html(heads: Sequence[str], rows: Sequence[Row]) -> str:
    """A table as HTML in which all text is text.

    Args:
        heads: of the three columns.
        rows: of the table.
    """
    return filled_in("lightning_collab.demo", "table.html.j2", heads=heads, rows=rows)


def _name(row: Mapping[str, Any]) -> str:
    return printable(row.get("title") or row["item"])


def _genres(row: Mapping[str, Any]) -> str:
    genres = row.get("genres") or []
    return printable(genres if isinstance(genres, str) else ", ".join(map(str, genres)))

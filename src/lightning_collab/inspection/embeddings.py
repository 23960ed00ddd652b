"""The embeddings of one side of a model, as inspection shows them: which, and with what labels."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lightning_collab.data.vocabulary import ID_COLUMN, Side
from lightning_collab.errors import InspectionError
from lightning_collab.inspection.projector_files import MAX_ROWS
from lightning_collab.models import RatingModel

NO_GENRE = "no genre"
# Of points without training ratings, in the column `known_by`.
BY_FEATURES = "features alone"


def described(known: pl.DataFrame, side: Side) -> pl.DataFrame:
    """A table for labels, colors and search: no lists, the name first.

    Args:
        known: users or items, as `TrainedModel` has them.
        side: `users` or `items`.

    Returns:
        `title` (or `name` where there are no titles), the raw id, then the features: `genre` (the
        first one) and `genres` (all, separated by `|`) in place of the list, `ratings` and
        `mean_rating`; last, where some have no training ratings, `known_by`: `ratings` or
        `features alone`.
    """
    column = ID_COLUMN[side]
    if "title" in known.columns:
        name = pl.col("title").fill_null(pl.format(f"{column} {{}}", column)).alias("title")
    else:
        name = pl.format(f"{column} {{}}", column).alias("name")
    name = name.str.replace_all(r"\s+", " ")
    columns: list[pl.Expr] = [name, pl.col(column)]
    for feature in known.columns:
        if feature in (column, "title"):
            continue
        if feature == "genres":
            genres = pl.col("genres").fill_null(pl.lit([], dtype=pl.List(pl.String)))
            columns += [
                genres.list.first().fill_null(NO_GENRE).alias("genre"),
                genres.list.join("|").alias("genres"),
            ]
        elif not known[feature].dtype.is_nested():
            columns.append(pl.col(feature))
    cold = pl.col("ratings") == 0
    if known.select(cold.any()).item():
        by = pl.when(cold).then(pl.lit(BY_FEATURES)).otherwise(pl.lit("ratings"))
        columns.append(by.alias("known_by"))
    return known.select(columns)


def most_rated(known: pl.DataFrame, limit: int = MAX_ROWS) -> np.ndarray[Any, Any]:
    """Positions of the most rated rows, in the order of the table.

    Args:
        known: with `ratings`.
        limit: how many at most.
    """
    order = np.argsort(-known["ratings"].to_numpy(), kind="stable")[:limit]
    return np.sort(order)


class SideEmbeddings(NamedTuple):
    """What a model has learned of its users or of its items; row `k` is of the k-th known id.

    Attributes:
        vectors: float32 [known ids, factors], on the CPU.
        biases: float32 [known ids], on the CPU; None where the model has none.
    """

    vectors: Tensor
    biases: Tensor | None


def side_embeddings(model: RatingModel, side: Side) -> SideEmbeddings:
    """A copy of the embeddings of users or items, without the unknown row.

    Args:
        model: any model of ratings.
        side: `users` or `items`.

    Raises:
        InspectionError: the model has no such embeddings.
    """
    tables = model.effective_tables()
    if side not in tables.get("embeddings", {}):
        raise InspectionError(
            f"{type(model).__name__} has no embeddings of {side}, so there is nothing to compare "
            "or to draw; use a run of another model"
        )
    vectors = tables["embeddings"][side][1:]
    biases = tables.get("biases", {}).get(side)
    return SideEmbeddings(
        vectors.to("cpu", torch.float32, copy=True),
        None if biases is None else biases[1:, 0].to("cpu", torch.float32, copy=True),
    )

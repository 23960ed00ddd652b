"""What is known of the users and items of a run, kept beside its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

if TYPE_CHECKING:
    # Lightning takes seconds to import, and who uses a trained run has no need of it.
    from lightning_collab.data.datamodule import RatingDataModule
    from lightning_collab.data.vocabulary import Vocabulary

Side = Literal["users", "items"]

ID_COLUMN: dict[Side, str] = {"users": "user", "items": "item"}
"""The column that holds the raw ids."""


def catalogue(data: RatingDataModule, side: Side) -> pl.DataFrame:
    """One row for each user or item that the data knows.

    Args:
        data: split ratings.
        side: `users` or `items`.

    Returns:
        First the ids of the training part in the order of their embedding rows, then the ids that
        only the other parts or the features have. Columns: the raw id (`user` or `item`), the
        features of the source, `ratings` (number of training ratings, Int64) and `mean_rating`
        (of the training ratings, Float64; null where there is none).
    """
    column = ID_COLUMN[side]
    train = data.columns(data.rows.train)
    if side == "items":
        rows, known, everyone = train.items, data.item_vocabulary, data.table.item_vocabulary
        features = data.table.item_features
    else:
        rows, known, everyone = train.users, data.user_vocabulary, data.table.user_vocabulary
        features = data.table.user_features
    counts = np.bincount(rows, minlength=len(known))[1:]
    sums = np.bincount(rows, train.ratings, minlength=len(known))[1:]
    seen = pl.DataFrame({column: known.ids, "ratings": counts, "mean_rating": sums / counts})
    others = _others(known, everyone, features, column)
    table = pl.concat([seen, others], how="diagonal").with_columns(pl.col("ratings").fill_null(0))
    if features is None:
        return table
    described = table.join(features, on=column, how="left", maintain_order="left")
    return described.select(*features.columns, "ratings", "mean_rating")


def _others(
    known: Vocabulary, everyone: Vocabulary, features: pl.DataFrame | None, column: str
) -> pl.DataFrame:
    ids = everyone.ids if features is None else pl.concat([everyone.ids, features[column]])
    unseen = ids.unique().sort()
    return pl.DataFrame({column: unseen.filter(~unseen.is_in(known.ids.implode()))})

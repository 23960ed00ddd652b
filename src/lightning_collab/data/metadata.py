"""What a run keeps of its data beside its checkpoints: users, items, and who rated what."""

import numpy as np
import polars as pl

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.history import SCHEMA
from lightning_collab.data.vocabulary import ID_COLUMN, UNKNOWN_ROW, Side


def metadata_table(data: RatingDataModule, side: Side) -> pl.DataFrame:
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
    ids = everyone.ids if features is None else pl.concat([everyone.ids, features[column]])
    ids = ids.unique().sort()
    others = pl.DataFrame({column: ids.filter(~ids.is_in(known.ids.implode()))})
    table = pl.concat([seen, others], how="diagonal").with_columns(pl.col("ratings").fill_null(0))
    if features is None:
        return table
    described = table.join(features, on=column, how="left", maintain_order="left")
    return described.select(*features.columns, "ratings", "mean_rating")


def history_table(data: RatingDataModule) -> pl.DataFrame:
    """All ratings of users and items that the model knows, by user and item.

    Args:
        data: split ratings.

    Returns:
        `user` and `item` (Int32, rows of the model), `rating` (Float32) and `held_out`: whether
        the rating is of the validation or the test part.
    """
    parts = []
    for rows, held_out in ((data.rows.train, False), (data.rows.val, True), (data.rows.test, True)):
        found = data.columns(rows)
        users, items, ratings = found.users, found.items, found.ratings
        known = (users != UNKNOWN_ROW) & (items != UNKNOWN_ROW)
        if not known.all():
            users, items, ratings = users[known], items[known], ratings[known]
        columns = {"user": users, "item": items, "rating": ratings}
        parts.append(
            pl.DataFrame(columns, schema_overrides=SCHEMA).with_columns(held_out=pl.lit(held_out))
        )
    return pl.concat(parts).sort("user", "item")

"""What to write beside a point: the columns that people know a user or an item by."""

from typing import cast

import polars as pl

from lightning_collab.inference.catalogue import ID_COLUMN, Side

NO_GENRE = "no genre"


def described(known: pl.DataFrame, side: Side) -> pl.DataFrame:
    """A table for labels, colours and search: no lists, the name first.

    Args:
        known: users or items, as `TrainedRun` has them.
        side: `users` or `items`.

    Returns:
        `title` (or `name` where there are no titles), the raw id, then the features: `genre` (the
        first one) and `genres` (all, separated by `|`) in place of the list, `ratings` and
        `mean_rating` last.
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
    return known.select(columns)


def names(known: pl.DataFrame, side: Side) -> list[str]:
    """One name for each row.

    Args:
        known: users or items, as `TrainedRun` has them.
        side: `users` or `items`.
    """
    return cast(list[str], described(known, side).to_series(0).to_list())

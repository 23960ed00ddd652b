"""The command similar: nearest neighbours of a film or of a user."""

from typing import Any

import polars as pl
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from lightning_collab.api.trained_run import load
from lightning_collab.config.commands import SimilarConfig
from lightning_collab.config.section import job_config
from lightning_collab.data.vocabulary import ID_COLUMN, Side
from lightning_collab.inference.lookup import row_of_id, row_of_item, row_of_title
from lightning_collab.inspection.neighbours import similar
from lightning_collab.runs.plain_text import terminal_text


def similar_command(config: DictConfig) -> pl.DataFrame:
    """Print the neighbours that the config asks for.

    Args:
        config: of conf/similar.yaml.

    Returns:
        What is known of the neighbours, nearest first, with a column `similarity`.

    Raises:
        ConfigError: none or several of item, movie, movie_id and user_id are given.
        NotFoundError: no film or user is meant, or several.
        InspectionError: the model has no embeddings of that side.
    """
    asked = job_config(SimilarConfig, config)
    run = load(asked.run, asked.checkpoint)
    side: Side = "items"
    if asked.user_id is not None:
        side, row = "users", row_of_id(run, "users", asked.user_id)
    elif asked.movie_id is not None:
        row = row_of_id(run, "items", asked.movie_id)
    elif asked.movie is not None:
        row = row_of_title(run, str(asked.movie))
    else:
        row = row_of_item(run, asked.item)
    found = similar(
        run, side, row, top_k=asked.top_k, measure=asked.measure, min_ratings=asked.min_ratings
    )
    known = run.users if side == "users" else run.items
    Console().print(_table(side, known.row(row - 1, named=True), asked, found, run.rows_called))
    return found


def _table(
    side: Side, query: dict[str, Any], asked: SimilarConfig, found: pl.DataFrame, rows_called: str
) -> Table:
    name = query["title"] if "title" in query else f"{side[:-1]} {query[ID_COLUMN[side]]}"
    table = Table(
        title=terminal_text(
            f"nearest to {name} by {asked.measure} "
            f"({query['ratings']} training {rows_called}; "
            f"neighbours have at least {asked.min_ratings})"
        ),
        title_justify="left",
    )
    shown = found.drop("year", strict=False)  # MovieLens has it in the title
    heads = {"mean_rating": "mean", "ratings": rows_called}
    for column in shown.columns:
        numeric = shown[column].dtype.is_numeric()
        table.add_column(
            heads.get(column, column),
            justify="right" if numeric else "left",
            no_wrap=column != "genres",
            min_width=14 if column == "genres" else None,
        )
    for values in shown.iter_rows():
        table.add_row(*(terminal_text(_cell(value)) for value in values))
    return table


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.3f}"
        case list():
            return ", ".join(map(str, value))
    return str(value)

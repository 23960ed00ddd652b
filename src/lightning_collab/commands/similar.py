"""The command similar: nearest neighbors of an item or of a user."""

from typing import Any

import polars as pl
from omegaconf import DictConfig

from lightning_collab.api.trained_run import load
from lightning_collab.config.commands import SimilarConfig
from lightning_collab.config.section import job_config
from lightning_collab.data.vocabulary import ID_COLUMN, Side
from lightning_collab.inference.lookup import row_of_id, row_of_item, row_of_title
from lightning_collab.inspection.neighbors import similar
from lightning_collab.runs.text import Column, item_table, printable, stdout_console
from lightning_collab.training.console import say


def similar_command(config: DictConfig) -> pl.DataFrame:
    """Print the neighbors that the config asks for.

    Args:
        config: of conf/similar.yaml.

    Returns:
        What is known of the neighbors, nearest first, with a column `similarity`.

    Raises:
        ConfigError: none or several of item, movie, movie_id and user_id are given.
        NotFoundError: no item or user is meant, or several.
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
    console = stdout_console()
    say(printable(_title(side, known.row(row - 1, named=True), asked, run.rows_called)))
    console.print(item_table(_columns(found, run.rows_called), console.width))
    return found


def _title(side: Side, query: dict[str, Any], asked: SimilarConfig, rows_called: str) -> str:
    name = query["title"] if "title" in query else f"{side[:-1]} {query[ID_COLUMN[side]]}"
    return (
        f"nearest to {name} by {asked.measure} ({query['ratings']} training {rows_called}; "
        f"neighbors have at least {asked.min_ratings})"
    )


def _columns(found: pl.DataFrame, rows_called: str) -> list[Column]:
    shown = found.drop("year", strict=False)  # MovieLens has it in the title
    heads = {"mean_rating": "mean", "ratings": rows_called}
    columns = []
    for name in shown.columns:
        values, kind = shown[name].to_list(), shown.schema[name]
        head = heads.get(name, name)
        if kind.is_nested():
            columns.append(Column(head, [[*map(str, each or [])] for each in values], "extra"))
        else:
            cells = [_cell(each) for each in values]
            whole = name in (*ID_COLUMN.values(), "similarity") or kind.is_numeric()
            columns.append(
                Column(head, cells, right=kind.is_numeric())
                if whole
                else Column(head, cells, "title")
                if name == "title"
                else Column(head, [[cell] for cell in cells], "extra")
            )
    return columns


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)

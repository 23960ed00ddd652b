"""The command map_embeddings: the embeddings of a run as a picture and as a page."""

from pathlib import Path

import polars as pl
from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from lightning_collab.api.trained_run import TrainedRun, load
from lightning_collab.config.commands import MapConfig
from lightning_collab.config.section import job_config
from lightning_collab.errors import InspectionError
from lightning_collab.inspection.embedding_map import EmbeddingMap, embedding_map, map_picture
from lightning_collab.inspection.embeddings import side_embeddings
from lightning_collab.inspection.layout import Ends, chosen_method
from lightning_collab.inspection.neighbors import GenreOverlap
from lightning_collab.inspection.pages import page_ends, render
from lightning_collab.runs.drawing import save_png
from lightning_collab.runs.files import write_atomically
from lightning_collab.runs.text import add_numbers, result_table, stdout_console, terminal_text
from lightning_collab.training.console import say, say_file


def map_embeddings_command(config: DictConfig) -> tuple[Path, Path]:
    """Draw the map that the config asks for, and print who is at its ends.

    Args:
        config: of conf/map_embeddings.yaml.

    Returns:
        The picture and the page.

    Raises:
        InspectionError: the model has no such embeddings, too few points are left, or UMAP is
            not installed.
    """
    asked = job_config(MapConfig, config)
    run = load(asked.run, asked.checkpoint)
    method = chosen_method(asked.method)
    console = stdout_console()
    with console.status(f"laying out {asked.side} by {method}"):
        drawn = embedding_map(
            run,
            asked.side,
            method,
            min_ratings=asked.min_ratings,
            max_points=asked.max_points,
            seed=asked.seed,
            perplexity=asked.perplexity,
        )
        ends = drawn.ends(asked.extremes)
        folder = Path(asked.output) if asked.output else run.directory.figures
        name = f"map_{asked.side}_{method}"
        picture, page = folder / f"{name}.png", folder / f"{name}.html"
        try:
            save_png(map_picture(drawn, labels=asked.labels), picture)
            write_atomically(page, _page(run, drawn, ends))
        except OSError as error:
            raise InspectionError(f"cannot write into {folder}: {error}") from error
    for each in ends:
        console.print(_table(each))
    overlap = GenreOverlap(run.items)
    if asked.side == "items" and overlap.possible:
        measured = overlap.of(side_embeddings(run.model, "items").vectors)
        say(
            f"genre overlap with the 10 nearest: {measured.nearest:.3f}, chance "
            f"{measured.chance:.3f}, {measured.ratio:.2f} times chance ({measured.films} films "
            "with 20 ratings or more)"
        )
    say_file("picture", picture)
    say_file("page", page)
    return picture, page


def _page(run: TrainedRun, drawn: EmbeddingMap, ends: list[Ends]) -> str:
    return render(
        "map.html.j2",
        title=drawn.title,
        subtitle=f"{run.directory.path.name} · {run.checkpoint.name} · "
        f"{len(drawn.names):,} points; larger ones have more ratings",
        map=drawn.page_data(),
        extremes=page_ends(ends),
    )


def _table(ends: Ends) -> Table:
    table = result_table(ends.name)
    for heading in ("highest", "lowest"):
        table.add_column(heading)
        add_numbers(table, "")
    for top, bottom in zip(_named(ends.top), _named(ends.bottom), strict=True):
        table.add_row(*top, *bottom)
    return table


def _named(frame: pl.DataFrame) -> list[tuple[Text, str]]:
    values = frame["value"].to_list()
    return [(terminal_text(n), f"{v:.2f}") for n, v in zip(frame.to_series(0), values, strict=True)]

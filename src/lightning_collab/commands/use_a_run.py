"""The commands similar, add_items, export and demo, which use a trained run in few lines."""

import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import DictConfig
from rich.console import Console

from lightning_collab.api.trained_run import load
from lightning_collab.config.commands import AddItemsConfig, DemoConfig, ExportConfig, SimilarConfig
from lightning_collab.config.section import job_config
from lightning_collab.data.vocabulary import ID_COLUMN, Side
from lightning_collab.demo.server import check_port, serving, stopped_by_any_signal, until_ended
from lightning_collab.demo.tables import check_somebody_new
from lightning_collab.errors import ConfigError, InspectionError
from lightning_collab.inference.export_run import export_run
from lightning_collab.inference.lookup import row_of_id, row_of_item, row_of_title
from lightning_collab.inference.new_items import add_items, read_items
from lightning_collab.inspection.neighbors import similar
from lightning_collab.runs.invocation import called_as
from lightning_collab.runs.text import Column, item_table, printable, stdout_console
from lightning_collab.training.console import say, say_file


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


def add_items_command(config: DictConfig) -> int:
    """Make the items of a file known to a run.

    Args:
        config: of conf/add_items.yaml.

    Returns:
        How many items the run now knows by features alone.

    Raises:
        DataError: the file cannot be read, an item already exists, or no feature is.
        CheckpointError: the run has no map from features to rows.
    """
    asked = job_config(AddItemsConfig, config)
    run = load(asked.run, asked.checkpoint)
    items = read_items(Path(asked.items), run, asked.delimiter)
    known = add_items(run, items, named=asked.items)
    added = f"{len(items):,} item{'' if len(items) == 1 else 's'}"
    say(f"{added} added; {asked.run} knows {known:,} by their features alone")
    say(f"to see them: {called_as('recommend')} run={asked.run} user=<id> new_items=only")
    return known


def export_command(config: DictConfig) -> list[Path]:
    """Export the run that the config names, and say what was written.

    Args:
        config: of conf/export.yaml.

    Returns:
        The files: the model, its vocabularies and its card.

    Raises:
        ConfigError: such an export exists already.
        ExportError: a package is missing, or the format cannot hold the model.
        StorageError: the files cannot be written.
    """
    asked = job_config(ExportConfig, config)
    run = load(asked.run, asked.checkpoint)
    folder = run.directory.path / f"export_{asked.format}"
    if asked.output is not None:
        folder = Path(asked.output)
    with Console(stderr=True).status(f"exporting {run.model_name} as {asked.format}"):
        files = export_run(run, asked.format, folder, overwrite=asked.overwrite)
    for label, path in zip(("model", "ids", "card"), files, strict=True):
        say_file(label, path, f"  ({path.stat().st_size / 1e6:.2f} MB)")
    return files


def demo_command(config: DictConfig) -> None:
    """Serve the page on this machine until somebody stops it.

    Args:
        config: of conf/demo.yaml.

    Raises:
        ConfigError: Streamlit is not installed, or the port is not to be had.
        CheckpointError: not a run directory.
        NotFoundError: the model cannot recommend to somebody new.
        InspectionError: Streamlit does not start, or ends by itself.
    """
    asked = job_config(DemoConfig, config)
    if find_spec("streamlit") is None:
        raise ConfigError("demo needs streamlit: pip install 'lightning-collab[demo]'")
    run = load(asked.run, asked.checkpoint)
    check_somebody_new(run)
    check_port(asked.port)
    address = f"http://localhost:{asked.port}"
    try:
        with stopped_by_any_signal(), serving(run, asked.port) as server:
            say(f"open {address} in a browser; Ctrl-C stops it")
            if asked.open_browser:
                webbrowser.open(address)
            ended = until_ended(server)
    except KeyboardInterrupt:
        say("stopped")
        return
    raise InspectionError(f"Streamlit has ended by itself (exit code {ended})")

"""Items made known to a trained run by their features alone, without training it again."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from lightning_collab.data.column_names import USUAL_NAMES, usual_columns
from lightning_collab.data.column_rules import Place
from lightning_collab.data.files.tables import read_table
from lightning_collab.data.files.text_format import TextSettings
from lightning_collab.data.sources.frame import read_frame
from lightning_collab.data.sources.metadata_file import side_table
from lightning_collab.errors import CheckpointError, DataError
from lightning_collab.runs.checkpoints import read_checkpoint, steps_of_checkpoint
from lightning_collab.runs.files import run_held, summed_file
from lightning_collab.training.cold_file import read_cold_rows, write_cold_rows
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)

TITLE = "the frame of items"


def read_items(path: Path, run: TrainedModel, delimiter: str = "auto") -> pl.DataFrame:
    """A file of items as a run's own table has them: `item`, then features.

    Args:
        path: text, JSON lines or Parquet, a line for each item.
        run: the trained run.
        delimiter: between two values of text; auto: found.

    Raises:
        DataError: the file cannot be read, has no column of ids, or an id is of another type, or
            there twice.
    """
    text = run.item_vocabulary.ids.dtype == pl.String
    settings = TextSettings(delimiter, header=True)
    frame = read_table(path, settings, as_text=partial(usual_columns, "item") if text else None)
    return _table(frame, run, Place.rows(path))


def items_of_frame(frame: Any, run: TrainedModel) -> pl.DataFrame:
    """A frame of items as a run's own table has them.

    Args:
        frame: of polars, pandas or pyarrow, a row for each item.
        run: the trained run.

    Raises:
        DataError: it is no frame, or as of `read_items`.
    """
    return _table(read_frame(frame, TITLE), run, Place.frame(TITLE))


def _table(frame: pl.DataFrame, run: TrainedModel, place: Place) -> pl.DataFrame:
    named = usual_columns("item", frame.columns)
    if not named:
        raise DataError(
            f"{place.name}: no column of items, such as {' or '.join(USUAL_NAMES['item'][:4])}; "
            f"it has {', '.join(map(repr, frame.columns))}"
        )
    return side_table(frame, named[:1], "item", run.item_vocabulary.ids.dtype, place)


def add_items(run: TrainedModel, items: pl.DataFrame, named: str = "items") -> int:
    """Give a run rows for items that it was not trained on, by its map from features.

    Args:
        run: the trained run, as it is in its directory.
        items: a line for each: `item`, and features as in the run's own table.
        named: what the items are called in messages.

    Returns:
        How many the run knows by features alone now.

    Raises:
        DataError: an item already exists, or the items have none of the features of the map.
        CheckpointError: the run has no map, since its data said nothing of items.
    """
    content = read_checkpoint(run.checkpoint, mapped=True)
    cold = read_cold_rows(run.directory, content)
    side = cold.get("items")
    if side is None or not side.columns():
        raise CheckpointError(
            f"{run.directory.path}: it has no map from features to rows: its data had no table of "
            f"items, or {run.model_name} has no rows. Train on data with one (data.items_path)"
        )
    known = items["item"].filter(items["item"].is_in(run.item_vocabulary.ids.implode()))
    if len(known):
        raise DataError(
            f"{named}: item {known[0]!r} already exists"
            + (f", and so are {len(known) - 1} more" if len(known) > 1 else "")
            + "; leave out what the run knows"
        )
    lacking = side.without_values(items)
    if len(lacking) == len(side.columns()):
        raise DataError(
            f"{named}: none of the features that rows are made of ({', '.join(lacking)}); it has "
            f"{', '.join(map(repr, items.columns[1:])) or 'no column beside the ids'}"
        )
    if lacking:
        log.warning("%s: no value of %s, which rows are also made of", named, ", ".join(lacking))
    grown = {**cold, "items": side.with_ids(items)}
    directory = run.directory
    others = run.unseen_items.filter(~pl.col("item").is_in(items["item"].implode()))
    table = pl.concat([run.items, _like(items, run.items), others], how="vertical_relaxed")
    with run_held(directory.path):
        # The table first: what it has more than the rows is only not known yet.
        with summed_file(directory.items_file) as file:
            warm = run.item_vocabulary.warm
            pl.concat([table[:warm], table[warm:].sort("item")]).write_parquet(file)
        write_cold_rows(directory, grown, steps_of_checkpoint(content))
    return len(grown["items"].ids)


def _like(items: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """With the columns of a run's table, those that items lack empty."""
    known = items.with_columns(ratings=pl.lit(0), mean_rating=pl.lit(None, dtype=pl.Float64))
    return known.select(
        pl.col(name).cast(kind, strict=False)
        if name in known.columns
        else pl.lit(None, dtype=kind).alias(name)
        for name, kind in table.schema.items()
    )

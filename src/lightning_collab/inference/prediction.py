"""Predicted ratings of pairs of a user and an item, also of a file of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.errors import ConfigError
from lightning_collab.inference.lookup import RawIds, ids_in, rows_of_ids
from lightning_collab.inference.table_stream import PairsFile, write_stream
from lightning_collab.training.trained_model import TrainedModel

PAIRS_AT_A_TIME = 1 << 17
SECONDS_A_DAY = 86_400
# Before any rating, so that no effect of time is known of it.
UNKNOWN_DAY = -1_000_000


def predict(
    run: TrainedModel, users: RawIds, items: RawIds, timestamps: pl.Series | None = None
) -> pl.DataFrame:
    """Predicted ratings of pairs; see `TrainedRun.predict`.

    Args:
        run: the trained run.
        users: n raw ids, or one for all items.
        items: n raw ids, or one for all users.
        timestamps: n times in seconds since 1970 (UTC), for models with effects of time; None, and
            null in it: no such effect.

    Raises:
        ConfigError: users or items are no ids.
        ValueError: the columns are not of one length.
    """
    user_rows = rows_of_ids(run.user_vocabulary, ids_in("users", users))
    item_rows = rows_of_ids(run.item_vocabulary, ids_in("items", items))
    # One user with many items, or one item with many users.
    if len(user_rows) == 1:
        user_rows = np.repeat(user_rows, len(item_rows))
    elif len(item_rows) == 1:
        item_rows = np.repeat(item_rows, len(user_rows))
    if len(user_rows) != len(item_rows):
        raise ValueError(f"{len(user_rows)} users, but {len(item_rows)} items")
    days = None
    if timestamps is not None and has_time_effects(run):
        days = pl.Series(timestamps).cast(pl.Float64) // SECONDS_A_DAY
        if len(days) != len(user_rows):
            raise ValueError(f"{len(user_rows)} pairs, but {len(days)} timestamps")
    ratings, deviations = _of_rows(run, user_rows, item_rows, days)
    columns = {run.shown_as: run.shown(ratings).numpy()}
    if deviations is not None:
        columns["standard_deviation"] = deviations.numpy()
    return pl.DataFrame(columns).with_columns(
        known_user=pl.Series(user_rows != UNKNOWN_ROW),
        known_item=pl.Series(item_rows != UNKNOWN_ROW),
    )


def has_time_effects(run: TrainedModel) -> bool:
    """Whether a prediction depends on its day.

    Args:
        run: the trained run.
    """
    return bool((run.config.get("features") or {}).get("time"))


def _of_rows(
    run: TrainedModel, users: NDArray[np.int32], items: NDArray[np.int32], days: pl.Series | None
) -> tuple[Tensor, Tensor | None]:
    """Ratings, not clamped, and their standard deviations where the model has them."""
    found = run.item_scores.of_pairs(users, items) if days is None else None
    if found is not None:
        return found, None
    day = None
    if days is not None:
        day = torch.tensor(days.fill_null(UNKNOWN_DAY).cast(pl.Int32).to_numpy())
    ratings = torch.empty(len(users))
    deviations = None
    for start in range(0, len(users), PAIRS_AT_A_TIME):
        part = slice(start, start + PAIRS_AT_A_TIME)
        batch = RatingBatch(
            torch.from_numpy(users[part]),
            torch.from_numpy(items[part]),
            ratings[part],
            None if day is None else day[part],
        )
        if run.ranks:
            embedded = run.model.embed(batch)
            ratings[part] = run.model.score(embedded.rows, batch, embedded.effects)
            continue
        ratings[part], deviation = run.model.predict_with_deviation(batch)
        if deviation is not None:
            deviations = torch.empty(len(users)) if deviations is None else deviations
            deviations[part] = deviation
    return ratings, deviations


@dataclass
class Predicted:
    """What became of a file of pairs.

    Attributes:
        pairs: rows written.
        unknown_users: how many of them are of a user without training ratings.
        unknown_items: how many of them are of an item without training ratings.
    """

    pairs: int = 0
    unknown_users: int = 0
    unknown_items: int = 0


def predict_file(
    run: TrainedModel,
    pairs: PairsFile,
    output: Path,
    progress: Callable[[int], None] = lambda rows: None,
) -> Predicted:
    """Write the rows of a file with the model's predictions beside them.

    A block of rows is in memory at a time. The columns of `TrainedRun.predict` come after those of
    the file, which stay as they are.

    Args:
        run: the trained run.
        pairs: the file.
        output: ends with `.csv` or `.parquet`.
        progress: told the number of rows after each block.

    Raises:
        ConfigError: the file has a column of a name that the predictions have.
        DataError: the file cannot be read to its end.
        StorageError: the predictions cannot be written.
    """
    schema = predicted_schema(run, pairs)
    done = Predicted()

    def blocks() -> Iterator[pl.DataFrame]:
        for block in pairs.blocks():
            ids = block[pairs.columns["user"]], block[pairs.columns["item"]]
            times = None
            if "timestamp" in pairs.columns:
                times = block[pairs.columns["timestamp"]].cast(pl.Float64, strict=False)
            found = predict(run, *ids, times)
            done.pairs += len(found)
            done.unknown_users += len(found) - int(found["known_user"].sum())
            done.unknown_items += len(found) - int(found["known_item"].sum())
            progress(len(found))
            yield pl.concat([block, found], how="horizontal")

    write_stream(output, blocks(), schema)
    return done


def predicted_schema(run: TrainedModel, pairs: PairsFile) -> dict[str, Any]:
    """Names and types of the columns of the output.

    Args:
        run: the trained run.
        pairs: the file.

    Raises:
        ConfigError: the file has a column of a name that the predictions have.
    """
    predicted = predict(run, [None], [None]).schema
    for name in predicted:
        if name in pairs.schema:
            raise ConfigError(
                f"{pairs.path}: a column is named {name!r} already, as one of the output is; "
                "rename it"
            )
    return {**pairs.schema, **predicted}

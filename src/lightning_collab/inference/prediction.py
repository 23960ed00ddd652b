"""Predicted ratings of pairs of a user and an item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.inference.item_scores import DotProductScores
from lightning_collab.inference.raw_ids import RawIds, rows_of_ids

if TYPE_CHECKING:
    from lightning_collab.inference.trained_run import TrainedRun

PAIRS_AT_A_TIME = 1 << 17
SECONDS_A_DAY = 86_400
UNKNOWN_DAY = -1_000_000
"""Before any rating, so that no effect of time is known of it."""


def predict(
    run: TrainedRun, users: RawIds, items: RawIds, timestamps: pl.Series | None = None
) -> pl.DataFrame:
    """Predicted ratings of pairs; see `TrainedRun.predict`.

    Args:
        run: the trained run.
        users: n raw ids.
        items: n raw ids.
        timestamps: n times in seconds since 1970 (UTC), for models with effects of time; None, and
            null in it: no such effect.

    Raises:
        ValueError: the columns are not of one length.
    """
    user_rows = rows_of_ids(run.user_vocabulary, users)
    item_rows = rows_of_ids(run.item_vocabulary, items)
    if len(user_rows) != len(item_rows):
        raise ValueError(f"{len(user_rows)} users, but {len(item_rows)} items")
    days = None
    if timestamps is not None and has_time_effects(run):
        days = timestamps.cast(pl.Float64) // SECONDS_A_DAY
        if len(days) != len(user_rows):
            raise ValueError(f"{len(user_rows)} pairs, but {len(days)} timestamps")
    ratings, deviations = _of_rows(run, user_rows, item_rows, days)
    columns = {"prediction": ratings.clamp(*run.rating_range).numpy()}
    if deviations is not None:
        columns["standard_deviation"] = deviations.numpy()
    return pl.DataFrame(columns).with_columns(
        known_user=pl.Series(user_rows != UNKNOWN_ROW),
        known_item=pl.Series(item_rows != UNKNOWN_ROW),
    )


def has_time_effects(run: TrainedRun) -> bool:
    """Whether a prediction depends on its day.

    Args:
        run: the trained run.
    """
    return bool((run.config.get("features") or {}).get("time"))


def _of_rows(
    run: TrainedRun, users: NDArray[np.int32], items: NDArray[np.int32], days: pl.Series | None
) -> tuple[Tensor, Tensor | None]:
    """Ratings, not clamped, and their standard deviations where the model has them."""
    scores = run.item_scores
    if days is None and isinstance(scores, DotProductScores):
        return scores.of_pairs(users, items), None
    day = (
        None if days is None else days.fill_null(UNKNOWN_DAY).cast(pl.Int32).to_numpy(writable=True)
    )
    ratings = torch.empty(len(users))
    deviations = None
    for start in range(0, len(users), PAIRS_AT_A_TIME):
        part = slice(start, start + PAIRS_AT_A_TIME)
        batch = RatingBatch(
            torch.from_numpy(users[part]),
            torch.from_numpy(items[part]),
            ratings[part],
            None if day is None else torch.from_numpy(day[part]),
        )
        ratings[part], deviation = run.model.predict_with_deviation(batch)
        if deviation is not None:
            deviations = torch.empty(len(users)) if deviations is None else deviations
            deviations[part] = deviation
    return ratings, deviations

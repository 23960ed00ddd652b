"""Recommendations for all users, some users at a time: the matrix of all pairs is never there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from lightning_collab.inference.history import History
from lightning_collab.inference.item_scores import no_seen
from lightning_collab.inference.kernels import best_unseen
from lightning_collab.inference.recommendation import Seen, check_top_k

if TYPE_CHECKING:
    from lightning_collab.inference.trained_run import TrainedRun

SCORES_AT_A_TIME = 1 << 23
"""Numbers of a block of users by items: 32 MiB."""


def all_recommendations(run: TrainedRun, top_k: int, seen: Seen) -> Iterator[pl.DataFrame]:
    """The best items of every known user, in the order of the users, best item first.

    Args:
        run: the trained run.
        top_k: how many for each; fewer where a user has seen nearly everything.
        seen: which rated items to leave out.

    Yields:
        For some users: `user`, `rank` (from 1), `item`, `title` where there are titles, and
        `prediction`; the schema of `recommendation_schema`.

    Raises:
        ConfigError: `top_k` is below 1 or more than there are items.
        CheckpointError: the run does not know what its users have rated.
    """
    check_top_k(run, top_k)
    history: History | None = None
    if seen != "none":
        history = run.history if seen == "all" else run.history.trained()
    step = max(1, SCORES_AT_A_TIME // run.item_scores.items)
    block = torch.empty(min(step, len(run.users)), run.item_scores.items)
    for first in range(1, len(run.user_vocabulary), step):
        users = slice(first, min(first + step, len(run.user_vocabulary)))
        scores = run.item_scores.of_users(users, block[: users.stop - users.start])
        yield _best_of(run, users, scores, top_k, history)


def recommendation_schema(run: TrainedRun) -> dict[str, pl.DataType]:
    """The columns of `all_recommendations`.

    Args:
        run: the trained run.
    """
    shown = [name for name in ("item", "title") if name in run.items.columns]
    return {
        "user": run.users.schema["user"],
        "rank": pl.Int32(),
        **{name: run.items.schema[name] for name in shown},
        "prediction": pl.Float32(),
    }


def _best_of(
    run: TrainedRun, users: slice, scores: torch.Tensor, top_k: int, history: History | None
) -> pl.DataFrame:
    if history is None:
        starts, left_out = no_seen(len(scores))
    else:
        starts = history.starts[users.start : users.stop + 1]
        left_out = history.items[starts[0] : starts[-1]] - 1
        starts = starts - starts[0]
    columns, best = best_unseen(scores.numpy(), starts, left_out, top_k)
    chosen = columns >= 0
    of_user, rank = np.nonzero(chosen)
    ratings = run.item_scores.ratings(torch.from_numpy(best[chosen]))
    schema = recommendation_schema(run)
    items = run.items.select(name for name in ("item", "title") if name in schema)
    return pl.DataFrame(
        [
            run.users["user"].gather(users.start - 1 + of_user),
            pl.Series("rank", (rank + 1).astype(np.int32)),
            *(column.gather(columns[chosen]) for column in items.iter_columns()),
            pl.Series("prediction", ratings.clamp(*run.rating_range).numpy()),
        ]
    )

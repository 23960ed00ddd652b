"""What to watch next, and why: for one user, for all, or for somebody new."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from numbers import Real
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lightning_collab.data.metadata import History
from lightning_collab.errors import ConfigError
from lightning_collab.inference.lookup import RawIds, ids_in, row_of_id, row_of_item
from lightning_collab.inference.stock import Offer
from lightning_collab.training.trained_model import TrainedModel

Seen = Literal["all", "train", "none"]
SEEN = ("all", "train", "none")
# Rated films that are named for a recommended one.
REASONS = 3
# Of the scale: whoever rates so likes an item, however high the others are rated.
GOOD = 0.75
# Words that Hydra takes for another value than text.
NO_TEXT = ("true", "false", "null", "nan", "inf")


class Recipient(NamedTuple):
    """Somebody to recommend to.

    Attributes:
        scores: float32 [1, items], of all known items; changed by `best_unseen`.
        items: int32 [n], what is rated, as rows of the model.
        ratings: float32 [n], in rating units.
        left_out: int32, rows that are not to be recommended.
    """

    scores: torch.Tensor
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    left_out: NDArray[np.int32]


def recommend_to_user(
    run: TrainedModel, user: Any, top_k: int, seen: Seen, offer: Offer
) -> pl.DataFrame:
    """The items with the highest predictions for a user; see `TrainedRun.recommend`.

    Args:
        run: the trained run.
        user: raw id.
        top_k: how many.
        seen: which rated items to leave out.
        offer: which items may be shown.

    Raises:
        ConfigError: `top_k` is below 1 or more than there are items.
        NotFoundError: the run does not know the user.
        CheckpointError: the run does not know what its users have rated.
    """
    return _to_row(run, row_of_id(run, "users", user), top_k, seen, offer)


def recommend_to_users(
    run: TrainedModel, users: RawIds, top_k: int, seen: Seen, offer: Offer
) -> pl.DataFrame:
    """The same for several users, each once, in one table: `user` and `rank` (from 1) come first.

    Args:
        run: the trained run.
        users: raw ids.
        top_k: how many for each.
        seen: which rated items to leave out.
        offer: which items may be shown.

    Raises:
        ConfigError: there are none; or as of `recommend_to_user`.
        NotFoundError: the run does not know one of them.
        CheckpointError: the run does not know what its users have rated.
    """
    rows = dict.fromkeys(row_of_id(run, "users", user) for user in users)
    if not rows:
        raise ConfigError("user: at least one is needed, e.g. user=[196,186]")
    found = []
    for row in rows:
        table = _to_row(run, row, top_k, seen, offer)
        user = run.users["user"].gather(np.full(len(table), row - 1))
        rank = pl.Series("rank", np.arange(1, len(table) + 1, dtype=np.int32))
        found.append(table.select(user, rank, pl.all()))
    return pl.concat(found)


def _to_row(run: TrainedModel, row: int, top_k: int, seen: Seen, offer: Offer) -> pl.DataFrame:
    items, ratings = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    # Where nothing is to be left out, a run that has no history can do without it.
    if seen != "none" or run.directory.history_file.exists():
        items, ratings = run.history.of(row)
    left_out = items
    if seen == "train":
        left_out, _ = run.history.trained().of(row)
    elif seen == "none":
        left_out = items[:0]
    scores = run.item_scores.of_users(slice(row, row + 1))
    if run.implicit:
        ratings = np.full(len(items), np.nan, dtype=np.float32)
    return best_of_scores(run, Recipient(scores, items, ratings, left_out), top_k, offer)


def chosen_items(run: TrainedModel, items: Collection[Any]) -> NDArray[np.int32]:
    """Items that somebody chose, as rows of the model.

    Args:
        run: the trained run.
        items: raw ids.

    Raises:
        ConfigError: there are none, or the run learned ratings, which are needed then.
        NotFoundError: the run does not know an item.
    """
    if not run.ranks:
        some = run.items["item"].head(2).to_list()
        rated = ",".join(f"{raw_id}:5" for raw_id in some)
        raise ConfigError(
            f"items: {run.model_name} learned ratings, so that somebody new is known by ratings; "
            f"give ratings={{{rated}}}, or train with loss=softmax"
        )
    items = list(ids_in("items", items))
    if not items:
        raise ConfigError("items: at least one is needed, e.g. items=[1,50]")
    return np.array([row_of_item(run, raw_id) for raw_id in items], dtype=np.int32)


def rated_items(
    run: TrainedModel, ratings: Mapping[Any, float]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Items as rows of the model, and their ratings.

    Args:
        run: the trained run.
        ratings: raw item id -> rating.

    Raises:
        ConfigError: there are no ratings, one is not on the scale, or the run knows of none.
        NotFoundError: the run does not know an item.
    """
    if run.implicit:
        chosen = list(ratings) or run.items["item"].head(2).to_list()
        instead = shlex.quote(f"items=[{','.join(map(_typed, chosen))}]")
        raise ConfigError(
            f"ratings: {run.model_name} was trained on data without ratings, so that somebody new "
            f"is known by what that person chose; give {instead}"
        )
    low, high = run.rating_range
    if not isinstance(ratings, Mapping):
        raise ConfigError(
            "ratings: must be a dictionary of items and their ratings, e.g. {1: 5, 50: 4}, not a "
            f"{type(ratings).__name__}"
        )
    if not ratings:
        raise ConfigError("ratings: at least one is needed, e.g. ratings={1:5,50:4}")
    for raw_id, rating in ratings.items():
        number = isinstance(rating, Real) and not isinstance(rating, bool)
        if not number or not low <= rating <= high:
            raise ConfigError(
                f"ratings: {rating!r} of item {raw_id} is not on the scale from {low:g} to {high:g}"
            )
    items = np.array([row_of_item(run, raw_id) for raw_id in ratings], dtype=np.int32)
    return items, np.array(list(ratings.values()), dtype=np.float32)


def _typed(raw_id: Any) -> str:
    """An id as Hydra reads it in a list; in quotes where it would read something else."""
    text = str(raw_id)
    word = re.fullmatch(r"[a-z_][\w.-]*", text, re.ASCII | re.IGNORECASE)
    if isinstance(raw_id, int) or (word and text.lower() not in NO_TEXT):
        return text
    # A backslash means something in front of a quote alone.
    return '"' + re.sub(r'(\\*)("|$)', lambda at: at[1] * 2 + at[2].replace('"', '\\"'), text) + '"'


def best_of_scores(
    run: TrainedModel, recipient: Recipient, top_k: int, offer: Offer
) -> pl.DataFrame:
    """The items with the highest scores; see `TrainedRun.recommend`.

    New items have places of their own, since scores of items that nobody has rated are nearer to
    the mean than others.

    Args:
        run: the trained run.
        recipient: somebody to recommend to.
        top_k: how many.
        offer: which items may be shown.

    Raises:
        ConfigError: `top_k` is below 1 or more than there are items.
    """
    found = []
    left = top_k
    for barred, most in ((offer.barred_new, offer.new_items), (offer.barred, top_k)):
        if barred is not None and left:
            scores = recipient.scores.clone() if offer.barred_new is not None else recipient.scores
            found.append(
                _best_allowed(run, recipient._replace(scores=scores), min(most, left), barred)
            )
            left -= len(found[-1])
    if len(found) == 1:
        return found[0]
    return pl.concat(found).sort(run.shown_as, descending=True, maintain_order=True)


def _best_allowed(
    run: TrainedModel, recipient: Recipient, top_k: int, barred: NDArray[np.int32]
) -> pl.DataFrame:
    starts = np.array([0, len(recipient.left_out)])
    recipient.scores[:, torch.from_numpy(barred).long() - 1] = -torch.inf
    columns, scores = _best(recipient.scores, starts, recipient.left_out, top_k)
    chosen = columns[0] >= 0
    rows = columns[0, chosen] + 1
    ratings = run.item_scores.ratings(torch.from_numpy(scores[0, chosen]))
    shown = [name for name in ("item", "title", "genres") if name in run.items.columns]
    table: pl.DataFrame = run.items.select(shown)[(rows - 1).tolist()]
    return table.with_columns(
        pl.Series(run.shown_as, run.shown(ratings).numpy()),
        _reasons(run, rows, recipient),
        run.items["ratings"].gather(rows - 1),
    )


def _best(
    scores: torch.Tensor, starts: NDArray[np.int64], left_out: NDArray[np.int32], top_k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The columns with the highest scores; `left_out` are rows of the model."""
    # numba takes a while to import.
    from lightning_collab.models.scoring_kernels import best_unseen

    return best_unseen(scores.numpy(), starts, left_out - 1, top_k)


def _best_mixed(
    scores: torch.Tensor,
    starts: NDArray[np.int64],
    left_out: NDArray[np.int32],
    top_k: int,
    offer: Offer,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """`_best`, new items at most as many as are offered; -1 behind where there are no more."""
    parts = []
    for barred, most in ((offer.barred_new, offer.new_items), (offer.barred, top_k)):
        if barred is not None:
            allowed = scores.clone() if offer.barred_new is not None else scores
            allowed[:, torch.from_numpy(barred).long() - 1] = -torch.inf
            parts.append(_best(allowed, starts, left_out, most))
    if len(parts) == 1:
        return parts[0]
    (new, of_new), (known, of_known) = parts
    # Behind the new ones that there are, as many known ones as have a place.
    places = top_k - (new >= 0).sum(1, keepdims=True)
    known = np.where(np.arange(top_k) < places, known, -1).astype(np.int32)
    columns = np.concatenate([new, known], axis=1)
    best = np.where(columns >= 0, np.concatenate([of_new, of_known], axis=1), -np.inf)
    order = np.argsort(-best, axis=1, kind="stable")[:, :top_k]
    return (
        np.take_along_axis(columns, order, 1),
        np.take_along_axis(best, order, 1).astype(np.float32),
    )


def _reasons(run: TrainedModel, rows: NDArray[np.int32], recipient: Recipient) -> pl.Series:
    """For each recommended item the most similar ones that the user rated well."""
    shown = [name for name in ("item", "title") if name in run.items.columns]
    kinds: dict[str, Any] = {name: run.items.schema[name] for name in shown}
    kind = pl.List(pl.Struct({**kinds, "rating": pl.Float32(), "similarity": pl.Float32()}))
    # Of items that were chosen there are no ratings, and NaN is not below anything.
    liked = ~(recipient.ratings < _least_liked(run, recipient.ratings))
    items, ratings = recipient.items[liked], recipient.ratings[liked]
    if not len(items) or not len(rows):
        return pl.Series("because_of", [[] for _ in rows], dtype=kind)
    both = (torch.from_numpy(each).long() for each in (rows, items))
    nearest = run.item_scores.alike(*both).topk(min(REASONS, len(items)), dim=1)
    places = nearest.indices.flatten().numpy()
    named = run.items.select(shown)[(items[places] - 1).tolist()].with_columns(
        rating=pl.Series(ratings[places]).fill_nan(None),
        similarity=pl.Series(nearest.values.flatten().numpy()),
    )
    reasons = named.to_dicts()
    count = nearest.indices.shape[1]
    # What points the other way is no reason.
    alike = [
        [each for each in reasons[start : start + count] if each["similarity"] > 0]
        for start in range(0, len(reasons), count)
    ]
    return pl.Series("because_of", alike, dtype=kind)


def reason(liked: Mapping[str, Any]) -> str:
    """What a person is told of an item of `because_of`: its name and the rating.

    Args:
        liked: one of these.
    """
    # The year says little here, and takes the room of another reason.
    name = re.sub(r" \(\d{4}\)$", "", str(liked.get("title") or liked["item"]))
    return name if liked["rating"] is None else f"{name} ({liked['rating']:g})"


def _least_liked(run: TrainedModel, ratings: NDArray[np.float32]) -> float:
    """The rating from which on an item was liked: the person's mean, or 4 on a scale of 1 to 5."""
    low, high = run.rating_range
    rated = ratings[~np.isnan(ratings)]
    good = low + GOOD * (high - low)
    return min(float(rated.mean()), good) if len(rated) else good


# Numbers of a block of users by items: 32 MiB.
SCORES_AT_A_TIME = 1 << 23


def all_recommendations(
    run: TrainedModel, top_k: int, seen: Seen, offer: Offer
) -> Iterator[pl.DataFrame]:
    """The best items of every known user, in the order of the users, best item first.

    Args:
        run: the trained run.
        top_k: how many for each; fewer where a user has seen nearly everything.
        seen: which rated items to leave out.
        offer: which items may be shown.

    Yields:
        For some users: `user`, `rank` (from 1), `item`, `title` where there are titles, and
        `prediction` or `score`; the schema of `recommendation_schema`.

    Raises:
        ConfigError: `top_k` is below 1 or more than there are items.
        CheckpointError: the run does not know what its users have rated.
    """
    history = None if seen == "none" else run.history
    if history is not None and seen == "train":
        history = history.trained()
    step = max(1, SCORES_AT_A_TIME // run.item_scores.items)
    block = torch.empty(min(step, len(run.users)), run.item_scores.items)
    for first in range(1, len(run.user_vocabulary), step):
        users = slice(first, min(first + step, len(run.user_vocabulary)))
        scores = run.item_scores.of_users(users, block[: users.stop - users.start])
        yield _best_of(run, users, scores, top_k, history, offer)


def recommendation_schema(run: TrainedModel) -> dict[str, pl.DataType]:
    """The columns of `all_recommendations`.

    Args:
        run: the trained run.
    """
    shown = [name for name in ("item", "title") if name in run.items.columns]
    return {
        "user": run.users.schema["user"],
        "rank": pl.Int32(),
        **{name: run.items.schema[name] for name in shown},
        run.shown_as: pl.Float32(),
    }


def _best_of(
    run: TrainedModel,
    users: slice,
    scores: torch.Tensor,
    top_k: int,
    history: History | None,
    offer: Offer,
) -> pl.DataFrame:
    if history is None:
        starts, left_out = np.zeros(len(scores) + 1, dtype=np.int64), np.empty(0, dtype=np.int32)
    else:
        starts = history.starts[users.start : users.stop + 1]
        left_out = history.items[starts[0] : starts[-1]]
        starts = starts - starts[0]
    columns, best = _best_mixed(scores, starts, left_out, top_k, offer)
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
            pl.Series(run.shown_as, run.shown(ratings).numpy()),
        ]
    )

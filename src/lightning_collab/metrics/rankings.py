"""How well the best predictions of a model find the items that people liked."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_collab.data.datamodule import RatingColumns, RatingDataModule
from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.errors import DataError
from lightning_collab.models import RatingModel
from lightning_collab.models.item_scores import ItemScores
from lightning_collab.models.scoring_kernels import best_unseen

# Numbers of a block of users by items: 32 MiB.
SCORES_AT_A_TIME = 1 << 23


class RankingMetrics(NamedTuple):
    """Means over the users who liked at least one held-out item.

    The catalogue is every item of the training part; what a user rated elsewhere than in the
    measured part is left out of it. A liked item that the model does not know cannot be found, and
    counts as missed.

    Attributes:
        ndcg: normalised discounted cumulative gain with gain 1 for each liked item
            (Järvelin and Kekäläinen 2002): sum of 1/log2(1 + rank) over the liked items among the
            first top_k, divided by the most that it could be.
        recall: share of a user's liked items that are among the first top_k.
        coverage: share of the catalogue that is among the first top_k of anybody.
        users: how many users these are.
    """

    ndcg: float
    recall: float
    coverage: float
    users: int


def ranking_of_parts(
    model: RatingModel, data: RatingDataModule, *, liked: float, top_k: int
) -> dict[str, RankingMetrics]:
    """Of each held-out part that there is; see `ranking_of_part`."""
    return {
        part: ranking_of_part(model, data, part, liked=liked, top_k=top_k)
        for part in ("val", "test")
        if len(getattr(data.rows, part))
    }


def ranking_of_part(
    model: RatingModel, data: RatingDataModule, part: str, *, liked: float, top_k: int
) -> RankingMetrics:
    """Rank the whole catalogue for each user of a held-out part.

    Args:
        model: in evaluation mode, on the CPU.
        data: split ratings, with the vocabularies of the model.
        part: `val` or `test`.
        liked: the lowest rating of an item that somebody liked.
        top_k: how many items are looked at.

    Raises:
        DataError: the part holds no liked item, or `top_k` is more than there are items.
    """
    others = [name for name in ("train", "val", "test") if name != part]
    seen = [data.columns(getattr(data.rows, name)) for name in others]
    held_out = data.columns(getattr(data.rows, part))
    found = held_out.ratings >= liked
    users, items = held_out.users[found], held_out.items[found]
    if not (users != UNKNOWN_ROW).any():
        raise DataError(
            f"ranking: the {part} part has no rating of {liked:g} or more by a user with training "
            "ratings; lower the threshold (liked=...)"
        )
    scores = model.item_scores()
    if top_k > scores.items:
        raise DataError(f"top_k={top_k} is more than the {scores.items} items of the model")
    return rank_catalogue(scores, users, items, _pairs(seen), top_k=top_k)


@torch.no_grad()
def rank_catalogue(
    scores: ItemScores,
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    seen: tuple[NDArray[np.int32], NDArray[np.int32]],
    *,
    top_k: int,
) -> RankingMetrics:
    """Rank all items for some users, some users at a time.

    Args:
        scores: of the model.
        users: int32 [n], rows of the model; pairs of an unknown user are left aside.
        items: int32 [n], what these users liked; the unknown row for what the model cannot know.
        seen: users and items, int32 [m] each, of the pairs that are left out.
        top_k: how many items are looked at.
    """
    known = users != UNKNOWN_ROW
    users, items = users[known], items[known]
    asked, liked_count = np.unique(users, return_counts=True)
    starts, left_out = _by_user(*seen, int(asked[-1]) + 1)
    keys = np.sort(users.astype(np.int64) * (scores.items + 1) + items)
    discounts = 1 / np.log2(np.arange(2, top_k + 2))
    most = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(liked_count, top_k)]
    gains, hits = np.zeros(len(asked)), np.zeros(len(asked))
    recommended = np.zeros(scores.items, dtype=bool)
    step = max(1, SCORES_AT_A_TIME // scores.items)
    for first in range(1, int(asked[-1]) + 1, step):
        block = slice(first, min(first + step, int(asked[-1]) + 1))
        chosen = slice(*np.searchsorted(asked, [block.start, block.stop]))
        if chosen.start == chosen.stop:
            continue
        of_block = starts[block.start : block.stop + 1]
        own = left_out[of_block[0] : of_block[-1]]
        best, _ = best_unseen(scores.of_users(block).numpy(), of_block - of_block[0], own, top_k)
        columns = best[asked[chosen] - block.start]
        recommended[columns[columns >= 0]] = True
        row = asked[chosen, None].astype(np.int64) * (scores.items + 1) + columns + 1
        place = np.minimum(np.searchsorted(keys, row), len(keys) - 1)
        hit = (columns >= 0) & (keys[place] == row)
        gains[chosen], hits[chosen] = hit @ discounts, hit.sum(1)
    return RankingMetrics(
        ndcg=float((gains / most).mean()),
        recall=float((hits / liked_count).mean()),
        coverage=float(recommended.mean()),
        users=len(asked),
    )


def _pairs(columns: list[RatingColumns]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    users = np.concatenate([each.users for each in columns])
    items = np.concatenate([each.items for each in columns])
    known = (users != UNKNOWN_ROW) & (items != UNKNOWN_ROW)
    return users[known], items[known]


def _by_user(
    users: NDArray[np.int32], items: NDArray[np.int32], user_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Where each user's pairs start, and the columns of their items among the known ones."""
    order = np.argsort(users, kind="stable")
    starts = np.searchsorted(users[order], np.arange(user_rows + 1)).astype(np.int64)
    return starts, (items[order] - 1).astype(np.int32)

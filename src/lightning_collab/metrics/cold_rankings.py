"""How well items without training ratings are ranked among themselves."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_collab.data.vocabulary import UNKNOWN_ROW, Vocabulary
from lightning_collab.models.item_scores import ItemScores

USERS_AT_A_TIME = 1024


class HeldOutPairs(NamedTuple):
    """Held-out pairs, by the rows of an extended model.

    Attributes:
        users: int32 [n].
        items: int32 [n].
        liked: bool [n].
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    liked: NDArray[np.bool_]


def cold_rankings(
    scores: ItemScores, pairs: HeldOutPairs, items: Vocabulary, users: Vocabulary, top_k: int
) -> dict[str, float]:
    """Measures of the rankings of all cold items, means over users with training ratings.

    Args:
        scores: of the extended model.
        pairs: held out.
        items: of the extended model.
        users: of the extended model.
        top_k: at which the NDCG is taken.

    Returns:
        `cold_ndcg@k`; `cold_auc_all`, the share of pairs of a liked cold item and any other cold
        item in which the liked one has the higher score, ties counting half, over users who liked
        one; `cold_auc_rated`, the same of a liked and a disliked cold item, over users who have
        both. Without the measures that nobody has.
    """
    cold = pairs.items > items.warm
    mine = cold & (pairs.users != UNKNOWN_ROW) & (pairs.users <= users.warm)
    order = np.argsort(pairs.users[mine], kind="stable")
    of_users = pairs.users[mine][order]
    columns = pairs.items[mine][order] - items.warm - 1
    liked = pairs.liked[mine][order]
    found: dict[str, list[float]] = {f"cold_ndcg@{top_k}": [], "cold_auc_all": []}
    found["cold_auc_rated"] = []
    distinct, starts = np.unique(of_users, return_index=True)
    ends = np.append(starts[1:], len(of_users))
    for first in range(0, len(distinct), USERS_AT_A_TIME):
        some = slice(first, first + USERS_AT_A_TIME)
        block = scores.of_users(torch.from_numpy(distinct[some]))[:, items.warm :].double().numpy()
        for row, start, end in zip(block, starts[some], ends[some], strict=True):
            rated, good = columns[start:end], liked[start:end]
            if not good.any():
                continue
            wanted = np.zeros(len(row), dtype=bool)
            wanted[rated[good]] = True
            found[f"cold_ndcg@{top_k}"].append(_ndcg(row, wanted, top_k))
            if not wanted.all():
                found["cold_auc_all"].append(_auc(row[wanted], row[~wanted]))
            if not good.all():
                found["cold_auc_rated"].append(_auc(row[rated[good]], row[rated[~good]]))
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def _ndcg(scores: NDArray[np.float64], wanted: NDArray[np.bool_], k: int) -> float:
    best = np.argsort(-scores, kind="stable")[:k]
    gains = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = gains[: min(k, int(wanted.sum()))].sum()
    return float((gains[: len(best)] * wanted[best]).sum() / ideal)


def _auc(above: NDArray[np.float64], below: NDArray[np.float64]) -> float:
    """The share of pairs in the right order (Mann and Whitney 1947)."""
    ordered = np.sort(below)
    under = np.searchsorted(ordered, above, side="left")
    ties = np.searchsorted(ordered, above, side="right") - under
    return float((under + 0.5 * ties).sum() / (len(above) * len(below)))

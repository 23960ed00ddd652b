"""The two loops of inference that are worth compiling: dot products of pairs, and the best k."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_collab.kernel_cache import cached_njit

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

# Pairs of one task of a thread: short enough for all threads to end at the same time.
PAIRS_AT_A_TIME = 1 << 16


def pair_products(user_vectors: Floats, item_vectors: Floats, users: Ints, items: Ints) -> Floats:
    """Dot products of pairs of rows, on as many threads as torch uses.

    Args:
        user_vectors: float32 [user rows, k], contiguous.
        item_vectors: float32 [item rows, k], contiguous.
        users: int32 [n], rows of `user_vectors`.
        items: int32 [n], rows of `item_vectors`.

    Returns:
        float32 [n]; as exact as any sum of k products in float32, in no promised order.
    """
    products = np.empty(len(users), dtype=np.float32)

    def work(start: int) -> None:
        part = slice(start, start + PAIRS_AT_A_TIME)
        _pair_products(user_vectors, item_vectors, users[part], items[part], products[part])

    _on_threads(work, range(0, len(users), PAIRS_AT_A_TIME))
    return products


def best_unseen(
    scores: Floats, starts: NDArray[np.int64], seen: Ints, k: int
) -> tuple[Ints, Floats]:
    """The k highest entries of each row, without those that are seen.

    Args:
        scores: float32 [rows, columns]; seen entries become -inf.
        starts: int64 [rows + 1]; `seen[starts[r]:starts[r + 1]]` are the seen columns of row r.
        seen: int32, columns.
        k: how many.

    Returns:
        Columns, int32 [rows, k], highest score first and of equal scores the lower column first,
        -1 where there are no more; and their scores, float32 [rows, k].
    """
    columns = np.empty((len(scores), k), dtype=np.int32)
    highest = np.empty((len(scores), k), dtype=np.float32)
    step = max(1, PAIRS_AT_A_TIME // max(1, scores.shape[1]))

    def work(start: int) -> None:
        part = slice(start, start + step)
        own = starts[start : start + step + 1]
        _best_unseen(scores[part], own, seen, columns[part], highest[part])

    _on_threads(work, range(0, len(scores), step))
    return columns, highest


def _on_threads(work: Callable[[int], None], starts: range) -> None:
    threads = min(torch.get_num_threads(), len(starts))
    if threads <= 1:
        for start in starts:
            work(start)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, starts))


# Sums in any order, so that they can be vectorised; numbers that are no numbers stay so.
_ANY_ORDER: Any = {"reassoc", "contract", "nsz"}


@cached_njit(nogil=True, fastmath=_ANY_ORDER)
def _pair_products(
    user_vectors: Floats, item_vectors: Floats, users: Ints, items: Ints, products: Floats
) -> None:
    for n in range(len(users)):
        user, item = users[n], items[n]
        total = np.float32(0)
        for factor in range(user_vectors.shape[1]):
            total += user_vectors[user, factor] * item_vectors[item, factor]
        products[n] = total


@cached_njit(nogil=True)
def _best_unseen(
    scores: Floats, starts: NDArray[np.int64], seen: Ints, columns: Ints, highest: Floats
) -> None:
    k = columns.shape[1]
    for row in range(len(scores)):
        for n in range(starts[row], starts[row + 1]):
            scores[row, seen[n]] = -np.inf
        for place in range(k):
            columns[row, place] = -1
            highest[row, place] = -np.inf
        lowest = np.float32(-np.inf)
        for column in range(scores.shape[1]):
            score = scores[row, column]
            if score > lowest:
                place = k - 1
                while place > 0 and highest[row, place - 1] < score:
                    highest[row, place] = highest[row, place - 1]
                    columns[row, place] = columns[row, place - 1]
                    place -= 1
                highest[row, place] = score
                columns[row, place] = column
                lowest = highest[row, k - 1]

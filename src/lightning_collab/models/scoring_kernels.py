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
    scores: Floats, starts: NDArray[np.int64], seen: Ints, k: int, places: Ints | None = None
) -> tuple[Ints, Floats]:
    """The k highest entries of each row, without those that are seen.

    Args:
        scores: float32 [rows, columns]; seen entries become -inf.
        starts: int64 [rows + 1]; `seen[starts[r]:starts[r + 1]]` are the seen columns of row r.
        seen: int32, columns.
        k: how many.
        places: int32 [columns], a permutation: of equal scores the column of the lower place comes
            first; None: the lower column.

    Returns:
        Columns, int32 [rows, k], highest score first, -1 where there are no more: -inf and what is
        no number are never among them; and their scores, float32 [rows, k].
    """
    if places is None:
        places = np.arange(scores.shape[1], dtype=np.int32)
    columns = np.empty((len(scores), k), dtype=np.int32)
    highest = np.empty((len(scores), k), dtype=np.float32)
    step = max(1, PAIRS_AT_A_TIME // max(1, scores.shape[1]))

    def work(start: int) -> None:
        part = slice(start, start + step)
        own = starts[start : start + step + 1]
        _best_unseen(scores[part], own, seen, places, columns[part], highest[part])

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


# Sums in any order, so that they can be vectorized; NaN stays NaN.
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


# Columns that are compared at once when a lower bound of the k-th highest score is found.
GROUPS = 256


@cached_njit(nogil=True)
def _best_unseen(
    scores: Floats,
    starts: NDArray[np.int64],
    seen: Ints,
    places: Ints,
    columns: Ints,
    highest: Floats,
) -> None:
    width = scores.shape[1]
    maxima = np.empty(GROUPS, dtype=np.float32)
    for row in range(len(scores)):
        of_row, best, found = scores[row], highest[row], columns[row]
        for n in range(starts[row], starts[row + 1]):
            of_row[seen[n]] = -np.inf
        bound = _lower_bound(of_row, maxima, best)
        k = len(best)
        for place in range(k):
            found[place] = -1
            best[place] = -np.inf
        for column in range(width):
            score = of_row[column]
            if score >= bound:
                place = k
                while place > 0 and (
                    best[place - 1] < score
                    or (best[place - 1] == score and places[found[place - 1]] > places[column])
                ):
                    place -= 1
                if place == k:
                    continue
                for other in range(k - 1, place, -1):
                    best[other] = best[other - 1]
                    found[other] = found[other - 1]
                best[place] = score
                found[place] = column
                bound = max(bound, best[k - 1])


@cached_njit(nogil=True)
def _lower_bound(of_row: Floats, maxima: Floats, best: Floats) -> np.float32:
    """A number that at least k entries reach, if so many are numbers above -inf.

    The k-th highest of the maxima of groups of columns, which are found many at a time; without
    it, rows whose high scores come last would be sorted rather than looked through.
    """
    k, width = len(best), len(of_row)
    lowest = np.finfo(np.float32).min
    if k > GROUPS or width < 2 * GROUPS:
        return lowest
    for group in range(GROUPS):
        maxima[group] = -np.inf
    for start in range(0, width - GROUPS + 1, GROUPS):
        part = of_row[start : start + GROUPS]
        for group in range(GROUPS):
            maxima[group] = part[group] if part[group] > maxima[group] else maxima[group]
    for place in range(k):
        best[place] = -np.inf
    for group in range(GROUPS):
        if maxima[group] > best[k - 1]:
            place = k - 1
            while place > 0 and best[place - 1] < maxima[group]:
                best[place] = best[place - 1]
                place -= 1
            best[place] = maxima[group]
    return max(best[k - 1], lowest)

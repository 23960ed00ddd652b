"""Rows of users or items that features are added to, in the steps of a block.

The effective row is its own row plus the rows that its features are mapped to, each times the
feature's value x. So the gradient of the effective row is the gradient of its own row, and x times
it is a part of the gradient of the feature's row. For each user or item of a batch both sums are
taken once, however many of the batch's ratings it has.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_collab.kernel_cache import INNER, cached_njit

# Above one feature in so many, a batch goes through them in the order of memory.
IN_ORDER = 4


class Mapped(NamedTuple):
    """The features of users or items, and what the rows of a batch come to.

    Attributes:
        indptr: int64 [rows + 1], where the features of each row begin.
        indices: int32 [entries], which feature.
        values: float [entries].
        factors: float [rows of a batch, factors], own row and features together.
        bias: float [rows of a batch, 1], likewise.
        places: int32 [entries of a batch], the place of the user or item of each use of a feature;
            those of the same feature side by side.
        uses: float [entries of a batch], the value of each use.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.floating]
    factors: NDArray[np.floating]
    bias: NDArray[np.floating]
    places: NDArray[np.int32]
    uses: NDArray[np.floating]


@cached_njit(**INNER)
def enter_features(features, mapped, own, count):  # type: ignore[no-untyped-def]
    """Enter the features of a batch's users (items), and sort their uses by feature.

    Args:
        features: `TrainedRows`, changed in place. The slot of a feature of the batch then says
            where its uses end.
        mapped: `Mapped`, changed in place.
        own: `TrainedRows` of the users (items), which have entered.
        count: rows of these.

    Returns:
        How many features there are.
    """
    return _enter(
        features.slot,
        features.rows,
        own.rows,
        count,
        mapped.indptr,
        mapped.indices,
        mapped.values,
        mapped.places,
        mapped.uses,
    )


@cached_njit(**INNER)
def _enter(slot, features, rows, count, indptr, indices, values, places, uses):  # type: ignore[no-untyped-def]
    entered = 0
    for place in range(count):
        for entry in range(indptr[rows[place]], indptr[rows[place] + 1]):
            feature = indices[entry]
            if slot[feature] < 0:
                features[entered] = feature
                entered += 1
            slot[feature] += 1
    if entered * IN_ORDER > slot.shape[0]:
        # In the order of memory, which is then fetched ahead.
        entered = 0
        for feature in range(slot.shape[0]):
            if slot[feature] >= 0:
                features[entered] = feature
                entered += 1
    total = 0
    for at in range(entered):
        number = slot[features[at]] + 1
        slot[features[at]] = total
        total += number
    for place in range(count):
        for entry in range(indptr[rows[place]], indptr[rows[place] + 1]):
            use = slot[indices[entry]]
            places[use] = place
            uses[use] = values[entry]
            slot[indices[entry]] = use + 1
    return entered


@cached_njit(**INNER)
def map_rows(features, mapped, own, count):  # type: ignore[no-untyped-def]
    """Fill in the effective row of each of a batch's users (items).

    Args:
        features: `TrainedRows`.
        mapped: `Mapped`, changed in place.
        own: `TrainedRows` of the users (items).
        count: rows of these.
    """
    _map(
        own.rows,
        count,
        own.factors.weight,
        own.bias.weight,
        features.factors.weight.reshape(-1),
        features.bias.weight.reshape(-1),
        mapped.indptr,
        mapped.indices,
        mapped.values,
        mapped.factors,
        mapped.bias,
    )


@cached_njit(**INNER)
def _map(  # type: ignore[no-untyped-def]
    rows, count, own, own_bias, factors, biases, indptr, indices, values, mapped, mapped_bias
):
    for place in range(count):
        row = rows[place]
        target, start = mapped[place], own[row]
        for f in range(target.shape[0]):
            target[f] = start[f]
        first, end = indptr[row], indptr[row + 1]
        _add_rows(target, factors, indices, values, first, end)
        mapped_bias[place, 0] = own_bias[row, 0] + _weighted(biases, indices, values, first, end)


@cached_njit(**INNER)
def map_gradients(features, mapped, own, entered):  # type: ignore[no-untyped-def]
    """Fill in the gradient of each feature of a batch, and how much the ratings use it.

    Args:
        features: `TrainedRows`, changed in place.
        mapped: `Mapped`.
        own: `TrainedRows` of the users (items), whose gradients are complete.
        entered: features of the batch.
    """
    _map_back(
        features.slot,
        features.rows,
        features.counts,
        features.factor_gradients,
        features.bias_gradients,
        own.counts,
        own.factor_gradients.reshape(-1),
        own.bias_gradients.reshape(-1),
        mapped.places,
        mapped.uses,
        entered,
    )


@cached_njit(**INNER)
def _map_back(  # type: ignore[no-untyped-def]
    ends,
    features,
    used,
    gradients,
    bias_gradients,
    ratings,
    of_rows,
    of_biases,
    places,
    uses,
    entered,
):
    first = 0
    for at in range(entered):
        target, end = gradients[at], ends[features[at]]
        for f in range(target.shape[0]):
            target[f] = 0
        _add_rows(target, of_rows, places, uses, first, end)
        of_bias, squares = of_biases.dtype.type(0), 0.0
        for use in range(first, end):
            place = np.uint32(places[use])
            of_bias += uses[use] * of_biases[place]
            squares += ratings[place] * np.float64(uses[use]) ** 2
        bias_gradients[at, 0] = of_bias
        used[at] = squares
        first = end


@cached_njit(**INNER)
def _add_rows(target, table, rows, weights, first, end):  # type: ignore[no-untyped-def]
    """Add rows of a table, times weights, to one row.

    A flat table and unsigned offsets, so that the loop is seen to be over memory side by side (a
    signed index might count from the end); four rows at a time, so that the target is fetched a
    fourth as often: half the time of row by row.
    """
    width = np.uint64(target.shape[0])
    while first + 4 <= end:
        a, b = np.uint64(rows[first]) * width, np.uint64(rows[first + 1]) * width
        c, d = np.uint64(rows[first + 2]) * width, np.uint64(rows[first + 3]) * width
        i, j, k, m = weights[first], weights[first + 1], weights[first + 2], weights[first + 3]
        for f in range(width):
            target[f] += i * table[a + f] + j * table[b + f] + k * table[c + f] + m * table[d + f]
        first += 4
    while first < end:
        a, i = np.uint64(rows[first]) * width, weights[first]
        for f in range(width):
            target[f] += i * table[a + f]
        first += 1


@cached_njit(**INNER)
def _weighted(table, rows, weights, first, end):  # type: ignore[no-untyped-def]
    """Sum of entries of a table times weights."""
    total = table.dtype.type(0)
    for entry in range(first, end):
        total += weights[entry] * table[np.uint32(rows[entry])]
    return total

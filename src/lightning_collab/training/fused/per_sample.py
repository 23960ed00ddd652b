"""Plain SGD on one rating at a time: a step is one pass over two rows and remembers nothing.

On several cores at once, without locks: users and items are cut into as many parts as there are
threads, and in each of as many phases every thread has users and items of its own (Gemulla et al.
2011, "Large-scale matrix factorization with distributed stochastic gradient descent"). No two
threads ever touch a row at the same time, so the outcome depends on the number of threads alone.
Hogwild (Recht et al. 2011), which lets threads meet on rows, gains next to nothing at this speed:
the rows of popular items would travel between the cores at every step.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_collab.config.optimizer import Optimizer, SGDConfig
from lightning_collab.kernel_cache import INNER, KERNEL, cached_njit
from lightning_collab.models.rating_output import Output


class Weights(NamedTuple):
    """The tables of a factor model; changed in place.

    Attributes:
        user_factors: float [user rows, factors].
        item_factors: float [item rows, factors].
        user_bias: float [user rows, 1]; [0, 1] where the model has no biases.
        item_bias: float [item rows, 1]; [0, 1] where the model has no biases.
    """

    user_factors: NDArray[np.floating]
    item_factors: NDArray[np.floating]
    user_bias: NDArray[np.floating]
    item_bias: NDArray[np.floating]


class Rates(NamedTuple):
    """Learning rates before the schedule, and weight decays, of both groups; 0 where frozen."""

    factors: float
    biases: float
    factor_decay: float
    bias_decay: float


class Samples(NamedTuple):
    """Ratings in the order of their steps.

    Attributes:
        users: int32 [n].
        items: int32 [n].
        ratings: float [n].
        schedule: float64 [n], the schedule's factor at each step.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.floating]
    schedule: NDArray[np.float64]


def takes_single_ratings(config: Optimizer, *, lazy: bool, clip: float) -> bool:
    """Whether steps of an optimizer on single ratings are those of `per_sample_sgd`.

    Args:
        config: the `optimizer` section.
        lazy: rows that a rating does not touch stay as they are.
        clip: norm to which gradients are clipped; 0: not.
    """
    own = [group.weight_decay for _, group in config.groups]
    still = lazy or config.decay == "per_row" or not any([config.weight_decay, *own])
    return isinstance(config, SGDConfig) and config.momentum == 0 and clip == 0 and still


def per_sample_sgd(
    samples: Samples,
    weights: Weights,
    rates: Rates,
    output: Output,
    squared_errors: NDArray[np.float64],
    threads: int = 1,
) -> int:
    """Take a step on each rating in turn: those of eager SGD without momentum, to rounding.

    For the squared error and the penalty decay / 2 * |row|^2 on both rows of a rating, they move by
    the gradient at the weights before the step.

    Args:
        samples: n of them.
        weights: changed in place.
        rates: of the steps.
        output: from raw number to rating.
        squared_errors: float64 [n], filled with that of each rating before its step, in the order
            of the steps of one thread after the other.
        threads: that take steps at the same time; above 1, in another order than that of the
            samples.

    Returns:
        Steps taken: fewer than n where a squared error is not a number; that step is not taken.
    """
    if threads == 1:
        return int(_in_turn(samples, weights, rates, output, squared_errors))
    rows = (len(weights.user_factors), len(weights.item_factors))

    def arrange(thread: int) -> Any:
        return _blocks(
            samples.users, samples.items, user_part, item_part, thread, threads, loads[thread]
        )

    def steps(thread: int, phase: int) -> Any:
        order, ends = blocks[thread]
        part = (thread + phase) % threads
        return _in_order(
            samples, weights, rates, output, errors[thread], order, ends[part], ends[part + 1]
        )

    taken = 0
    with ThreadPoolExecutor(threads) as pool:
        (user_part, loads), (item_part, _) = pool.map(
            parts, (samples.users, samples.items), rows, (threads, threads)
        )
        errors = np.split(squared_errors, np.cumsum(loads)[:-1])
        blocks = list(pool.map(arrange, range(threads)))
        for phase in range(threads):
            taken += sum(pool.map(steps, range(threads), [phase] * threads))
            if not np.isfinite(squared_errors.sum()):
                break
    return taken


def parts(
    ids: NDArray[np.int32], rows: int, threads: int
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Cut the rows of a table into parts with about as many ratings each.

    Parts are of rows that lie side by side, so that cores do not share the lines of their caches.

    Args:
        ids: int32 [n], rows of the ratings.
        rows: of the table.
        threads: number of parts, at most 127.

    Returns:
        int8 [rows], ascending; int64 [threads], ratings of each part.
    """
    ratings: NDArray[np.int64] = _counts(ids, rows)
    # A row is where its middle is, so that a heavy one does not push all after it on.
    middle = np.cumsum(ratings) - ratings / 2
    part = np.minimum(middle * threads / max(1, len(ids)), threads - 1).astype(np.int8)
    first = np.searchsorted(part, np.arange(threads + 1))
    return part, np.diff(np.concatenate([[0], np.cumsum(ratings)])[first])


# The arrays come one by one: out of a tuple, their addresses would be fetched at each access.
@cached_njit(forceinline=True, **INNER)
def _step(  # type: ignore[no-untyped-def]
    user_factors,
    item_factors,
    user_bias,
    item_bias,
    user,
    item,
    rating,
    factor_rate,
    bias_rate,
    rates,
    output,
):
    """One step; returns the squared error before it."""
    kind = user_factors.dtype.type
    one, two, low, span = kind(1), kind(2), kind(output.low), kind(output.span)
    biased = user_bias.shape[0] > 0
    width = user_factors.shape[1]
    raw = kind(0)
    for f in range(width):
        raw += user_factors[user, f] * item_factors[item, f]
    if biased:
        raw += user_bias[user, 0] + item_bias[item, 0]
    if output.sigmoid:
        share = one / (one + np.exp(-raw))
        error = low + share * span - rating
        slope = two * error * span * share * (one - share)
    else:
        error = low + raw - rating
        slope = two * error
    squared_error = np.float64(error) * np.float64(error)
    if not np.isfinite(squared_error):
        return squared_error
    keep, move = kind(1 - factor_rate * rates.factor_decay), kind(factor_rate) * slope
    for f in range(width):
        p, q = user_factors[user, f], item_factors[item, f]
        user_factors[user, f] = keep * p - move * q
        item_factors[item, f] = keep * q - move * p
    if biased:
        keep, move = kind(1 - bias_rate * rates.bias_decay), kind(bias_rate) * slope
        user_bias[user, 0] = keep * user_bias[user, 0] - move
        item_bias[item, 0] = keep * item_bias[item, 0] - move
    return squared_error


@cached_njit(**KERNEL)
def _in_turn(samples, weights, rates, output, squared_errors):  # type: ignore[no-untyped-def]
    users, items, ratings, schedule = samples
    user_factors, item_factors, user_bias, item_bias = weights
    for n in range(ratings.shape[0]):
        squared_errors[n] = _step(
            user_factors,
            item_factors,
            user_bias,
            item_bias,
            users[n],
            items[n],
            ratings[n],
            rates.factors * schedule[n],
            rates.biases * schedule[n],
            rates,
            output,
        )
        if not np.isfinite(squared_errors[n]):
            return n
    return ratings.shape[0]


@cached_njit(**KERNEL)
def _counts(ids, rows):  # type: ignore[no-untyped-def]
    """As numpy's bincount, which would first make a copy of 64 bits."""
    counts = np.zeros(rows, np.int64)
    for row in ids:
        counts[row] += 1
    return counts


@cached_njit(**KERNEL)
def _blocks(users, items, user_part, item_part, thread, threads, load):  # type: ignore[no-untyped-def]
    """Numbers of a thread's ratings, those of each part of the items together; where each ends."""
    # No branches on what a rating is, since half of all guesses would be wrong: what is not wanted
    # is overwritten by the next.
    mine = np.empty(load + 1, np.int32)
    count = 0
    for n in range(users.shape[0]):
        mine[count] = n
        count += user_part[users[n]] == thread
    part = np.empty(load, np.int8)
    for k in range(load):
        part[k] = item_part[items[mine[k]]]
    order = np.empty(load + 1, np.int32)
    ends = np.zeros(threads + 1, np.int64)
    count = 0
    for wanted in range(threads):
        for k in range(load):
            order[count] = mine[k]
            count += part[k] == wanted
        ends[wanted + 1] = count
    return order[:load], ends


@cached_njit(**KERNEL)
def _in_order(  # type: ignore[no-untyped-def]
    samples, weights, rates, output, squared_errors, order, first, end
):
    users, items, ratings, schedule = samples
    user_factors, item_factors, user_bias, item_bias = weights
    for k in range(first, end):
        n = order[k]
        squared_errors[k] = _step(
            user_factors,
            item_factors,
            user_bias,
            item_bias,
            users[n],
            items[n],
            ratings[n],
            rates.factors * schedule[n],
            rates.biases * schedule[n],
            rates,
            output,
        )
        if not np.isfinite(squared_errors[k]):
            return k - first
    return end - first

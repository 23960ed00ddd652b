"""Plain SGD on one rating at a time: a step is one pass over two rows and remembers nothing.

On several cores at once, without locks, as Hogwild does it (Recht, Re, Wright and Niu 2011,
"Hogwild!: a lock-free approach to parallelizing stochastic gradient descent"): threads that meet on
a row may overwrite one another's step, which does little harm as long as meetings are rare. Each
thread has users of its own, so that only items are shared.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lightning_collab.config.optimizer import Optimizer, SGDConfig
from lightning_collab.training.engines.kernel import Output
from lightning_collab.training.engines.numba_options import INNER, KERNEL


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
    """Whether steps of an optimiser on single ratings are those of `per_sample_sgd`.

    Args:
        config: the `optimizer` section.
        lazy: rows that a rating does not touch stay as they are.
        clip: norm to which gradients are clipped; 0: not.
    """
    own = [group.weight_decay for _, group in config.groups]
    still = lazy or config.decay == "touched_rows" or not any([config.weight_decay, *own])
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
        squared_errors: float64 [n], filled with that of each rating before its step.
        threads: above 1, that many take steps at the same time, each on its own users' ratings; the
            outcome is then another one each time.

    Returns:
        Steps taken: fewer than n where a squared error is no number; that step is not taken.
    """
    if threads == 1:
        taken: int = _in_turn(samples, weights, rates, output, squared_errors)
        return taken
    owner = owners(samples.users, len(weights.user_factors), threads)

    def share(thread: int) -> int:
        done: int = _of_own_users(samples, weights, rates, output, squared_errors, owner, thread)
        return done

    with ThreadPoolExecutor(threads) as pool:
        return min(pool.map(share, range(threads)))


def owners(users: NDArray[np.int32], rows: int, threads: int) -> NDArray[np.int8]:
    """Which thread takes the steps of each user, such that all have about as many.

    Args:
        users: int32 [n], of the ratings.
        rows: of the user table.
        threads: at most 127.

    Returns:
        int8 [rows].
    """
    order = np.argsort(-np.bincount(users, minlength=rows), kind="stable")
    there_and_back = [*range(threads), *reversed(range(threads))]
    owner = np.empty(rows, np.int8)
    owner[order] = np.resize(np.array(there_and_back, np.int8), rows)
    return owner


# The arrays come one by one: out of a tuple, their addresses would be fetched at each access.
@njit(forceinline=True, **INNER)
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


@njit(**KERNEL)
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


@njit(**KERNEL)
def _of_own_users(  # type: ignore[no-untyped-def]
    samples, weights, rates, output, squared_errors, owner, thread
):
    users, items, ratings, schedule = samples
    user_factors, item_factors, user_bias, item_bias = weights
    mine = np.empty(users.shape[0], np.int64)
    count = 0
    for n in range(users.shape[0]):
        # No branch, since half of all guesses would be wrong.
        mine[count] = n
        count += owner[users[n]] == thread
    for k in range(count):
        n = mine[k]
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

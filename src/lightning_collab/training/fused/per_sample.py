"""Plain SGD on one rating at a time: a step is one pass over two rows and remembers nothing.

On several cores at once, without locks: in each of several phases every thread has users and items
of its own (Gemulla et al. 2011, "Large-scale matrix factorization with distributed stochastic
gradient descent"). No two threads ever touch a row at the same time. Where the order of the ratings
has blocks for that, the outcome is that of one thread; else they are dealt out anew, and it depends
on the number of threads alone. Hogwild (Recht et al. 2011), which lets threads meet on rows, gains
next to nothing at this speed: rows of popular items would travel between the cores at every step.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lightning_collab.config.optimizer import Optimizer, SGDConfig
from lightning_collab.data.orders import cut
from lightning_collab.kernel_cache import KERNEL, cached_njit
from lightning_collab.models.rating_output import Output
from lightning_collab.training.fused import row_vectors


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


class Missed(NamedTuple):
    """What rows miss of the decay while no rating touches them: factors and biases side by side.

    Attributes:
        users: float64 [user rows, 2], one over the product when a row was touched last.
        items: float64 [item rows, 2].
        kept: float64 [n + 1, 2], product of what each step leaves of a row, before each step.
        start: steps that have been taken.
        pace: steps that are taken, by all threads, while one takes one.
    """

    users: NDArray[np.float64]
    items: NDArray[np.float64]
    kept: NDArray[np.float64]
    start: int = 0
    pace: float = 1.0

    @classmethod
    def nothing(cls, weights: Weights, steps: int) -> Self:
        """What is to be kept from one block of steps to the next: all rows have caught up.

        Args:
            weights: of the model.
            steps: of a block, at most.
        """
        users, items = (
            np.ones((len(each), 2)) for each in (weights.user_factors, weights.item_factors)
        )
        return cls(users, items, np.empty((steps + 1, 2)))


def takes_single_ratings(config: Optimizer, *, clip: float) -> bool:
    """Whether steps of an optimizer on single ratings are those of `per_sample_sgd`.

    Args:
        config: the `optimizer` section.
        clip: norm to which gradients are clipped; 0: not.
    """
    return isinstance(config, SGDConfig) and config.momentum == 0 and clip == 0


def per_sample_sgd(
    samples: Samples,
    weights: Weights,
    rates: Rates,
    output: Output,
    squared_errors: NDArray[np.float64],
    threads: int = 1,
    *,
    missed: Missed | None = None,
    rounds: NDArray[np.int64] | None = None,
) -> int:
    """Take a step on each rating in turn: those of eager SGD without momentum, to rounding.

    For the squared error and the penalty decay / 2 * |row|^2 on both rows of a rating, they move by
    the gradient at the weights before the step. Where the decay is of all rows, those that a rating
    does not touch shrink by 1 - rate * decay at each step: they do so when they are touched next,
    by the ratio of two products, and all of them at the end.

    Args:
        samples: n of them.
        weights: changed in place.
        rates: of the steps.
        output: from raw number to rating.
        squared_errors: float64 [n], filled with that of each rating before its step, in the order
            of the steps of one thread after the other.
        threads: that take steps at the same time; above 1 and without rounds, in another order
            than that of the samples.
        missed: where rows that a rating does not touch take the decay too; nothing, before and
            after, for at least n steps.
        rounds: as in `RatingBatch`: blocks that threads may take at the same time.

    Returns:
        Steps taken: fewer than n where a squared error is not a number; that step is not taken.
    """
    count = len(samples.ratings)
    if missed is None:
        return _part(samples, weights, rates, output, squared_errors, threads, rounds)
    pulls = rates.factors * rates.factor_decay, rates.biases * rates.bias_decay
    first = 0
    while first < count:
        steps = _shrinkage(samples.schedule[first:], *pulls, missed.kept)
        now = slice(first, first + steps)
        part = Samples(*(each[now] for each in samples))  # type: ignore[arg-type]
        errors = squared_errors[now]
        within = None if rounds is None else (rounds - first).clip(0, steps)
        taken = _part(part, weights, rates, output, errors, threads, within, missed)
        for side, left in enumerate((missed.users, missed.items)):
            _catch_up(weights[side], left, 0, missed.kept[taken, 0])
            _catch_up(weights[2 + side], left, 1, missed.kept[taken, 1])
            left.fill(1.0)  # also of biases that the model does not have
        first += taken
        if taken < steps:
            break
    return first


def _part(
    samples: Samples,
    weights: Weights,
    rates: Rates,
    output: Output,
    squared_errors: NDArray[np.float64],
    threads: int,
    rounds: NDArray[np.int64] | None,
    missed: Missed | None = None,
) -> int:
    """The steps on some samples, from the first place of `missed.kept` on."""
    common = samples, weights, rates, output, True if output.sigmoid else None
    count = len(samples.ratings)
    if threads == 1:
        return int(_steps(*common, squared_errors, None, 0, count, missed))
    if rounds is not None:
        return _in_rounds(common, squared_errors, threads, rounds, missed)
    rows = (len(weights.user_factors), len(weights.item_factors))

    def arrange(thread: int) -> Any:
        return _blocks(
            samples.users, samples.items, user_part, item_part, thread, threads, loads[thread]
        )

    def steps(thread: int, phase: int) -> Any:
        order, ends = blocks[thread]
        part = (thread + phase) % threads
        first, end = ends[part], ends[part + 1]
        now = missed
        if now is not None:
            # Each thread counts the steps of all, as if all were as quick.
            pace = in_phase[phase] / max(1, end - first)
            now = now._replace(start=int(in_phase[:phase].sum()), pace=float(pace))
        return _steps(*common, errors[thread], order, first, end, now)

    taken = 0
    with ThreadPoolExecutor(threads) as pool:
        (user_part, loads), (item_part, _) = pool.map(
            cut, (samples.users, samples.items), rows, (threads, threads)
        )
        errors = np.split(squared_errors, np.cumsum(loads)[:-1])
        blocks = list(pool.map(arrange, range(threads)))
        sizes = np.array([np.diff(ends) for _, ends in blocks])
        each = np.arange(threads)
        in_phase = np.array([sizes[each, (each + phase) % threads].sum() for phase in each])
        for phase in range(threads):
            taken += sum(pool.map(steps, range(threads), [phase] * threads))
            if not np.isfinite(squared_errors.sum()):
                break
    return taken


def _in_rounds(
    common: Any,
    squared_errors: NDArray[np.float64],
    threads: int,
    rounds: NDArray[np.int64],
    missed: Missed | None,
) -> int:
    """Each round's blocks shared out to threads: the same numbers as by one."""

    def steps(first: int, end: int) -> Any:
        now = missed and missed._replace(start=first)
        return _steps(*common, squared_errors, None, first, end, now)

    taken = 0
    with ThreadPoolExecutor(threads) as pool:
        for ends in rounds:
            fair = ends[0] + (ends[-1] - ends[0]) * np.arange(1, threads) / threads
            # The ends of blocks that are nearest to equal shares.
            places = np.abs(ends[:, None] - fair).argmin(0)
            shares = [int(end) for end in (ends[0], *ends[places], ends[-1])]
            taken += sum(pool.map(steps, shares[:-1], shares[1:]))
            if taken < ends[-1]:
                break
    return taken


# Called from kernels alone, without the context that they are written with.
fetch: Any = row_vectors.fetch
move_rows: Any = row_vectors.move_rows
row_dot: Any = row_vectors.row_dot
# Steps ahead of which rows are fetched: an L3 takes about as long as eight of them.
AHEAD = 8
# Products of shrinkage beyond which rows catch up, so that none of them is lost.
LEAST, MOST = 1e-100, 1e100


@cached_njit(**KERNEL)
def _shrinkage(schedule, factor_pull, bias_pull, kept):  # type: ignore[no-untyped-def]
    """Products of what each step leaves of rows that it does not touch, before each step.

    Args:
        schedule: float64 [n].
        factor_pull: learning rate times weight decay of the factors.
        bias_pull: of the biases.
        kept: float64 [n + 1, 2], filled with the products of factors and of biases.

    Returns:
        Steps until one of them is too small or too large to go on.
    """
    kept[0, 0] = kept[0, 1] = 1.0
    for n in range(schedule.shape[0]):
        factors = kept[n, 0] * (1 - factor_pull * schedule[n])
        biases = kept[n, 1] * (1 - bias_pull * schedule[n])
        kept[n + 1, 0], kept[n + 1, 1] = factors, biases
        least, most = min(abs(factors), abs(biases)), max(abs(factors), abs(biases))
        if least < LEAST or most > MOST:
            return n + 1
    return schedule.shape[0]


@cached_njit(**KERNEL)
def _catch_up(table, left, column, end):  # type: ignore[no-untyped-def]
    """Take the shrinkage that rows have missed since they were touched last."""
    for row in range(table.shape[0]):
        # A step that leaves nothing is the last of its block, so that its own rows miss nothing.
        share = end * left[row, column]
        if share != 1.0 and np.isfinite(left[row, column]):
            for f in range(table.shape[1]):
                table[row, f] *= table.dtype.type(share)
        left[row, column] = 1.0


@cached_njit(**KERNEL)
def _steps(  # type: ignore[no-untyped-def]
    samples, weights, rates, output, curved, squared_errors, order, first, end, missed
):
    """Take the steps of some places of an order; returns how many were taken.

    What is None is left out of the code that is compiled: `curved`, without a sigmoid; `order`, of
    samples as they are; `missed`, where rows miss nothing.
    """
    users, items, ratings, schedule = samples
    user_factors, item_factors, user_bias, item_bias = weights
    kind = user_factors.dtype.type
    one, two, low, span = kind(1), kind(2), kind(output.low), kind(output.span)
    biased, width = user_bias.shape[0] > 0, user_factors.shape[1]
    line = 64 // user_factors.itemsize
    user_share = item_share = user_bias_share = item_bias_share = one
    for k in range(first, end):
        n = k if order is None else order[k]
        if k + AHEAD < end:
            later = k + AHEAD if order is None else order[k + AHEAD]
            user, item = users[later], items[later]
            for column in range(0, width, line):
                fetch(user_factors, user, column)
                fetch(item_factors, item, column)
            if biased:
                fetch(user_bias, user, 0)
                fetch(item_bias, item, 0)
            if missed is not None:
                fetch(missed.users, user, 0)
                fetch(missed.items, item, 0)
        user, item = users[n], items[n]
        if missed is not None:
            place = missed.start + int((k - first) * missed.pace)
            now, of_biases = missed.kept[place, 0], missed.kept[place, 1]
            user_share = kind(now * missed.users[user, 0])
            item_share = kind(now * missed.items[item, 0])
            user_bias_share = kind(of_biases * missed.users[user, 1])
            item_bias_share = kind(of_biases * missed.items[item, 1])
        raw = user_share * item_share * row_dot(user_factors, user, item_factors, item)
        if biased:
            b, c = user_bias_share * user_bias[user, 0], item_bias_share * item_bias[item, 0]
            raw += b + c
        if curved is None:
            error = low + raw - ratings[n]
            slope = two * error
        else:
            share = one / (one + np.exp(-raw))
            error = low + share * span - ratings[n]
            slope = two * error * span * share * (one - share)
        squared_error = np.float64(error) * np.float64(error)
        squared_errors[k] = squared_error
        if not np.isfinite(squared_error):
            return k - first
        rate, bias_rate = rates.factors * schedule[n], rates.biases * schedule[n]
        keep, bias_keep = 1 - rate * rates.factor_decay, 1 - bias_rate * rates.bias_decay
        kept, move = kind(keep), kind(rate) * slope
        move_rows(
            user_factors,
            user,
            item_factors,
            item,
            kept * user_share,
            move * item_share,
            kept * item_share,
            move * user_share,
        )
        if biased:
            kept, move = kind(bias_keep), kind(bias_rate) * slope
            user_bias[user, 0] = kept * b - move
            item_bias[item, 0] = kept * c - move
        if missed is not None:
            left, left_of_biases = 1 / (now * keep), 1 / (of_biases * bias_keep)
            missed.users[user, 0] = missed.items[item, 0] = left
            missed.users[user, 1] = missed.items[item, 1] = left_of_biases
    return end - first


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
    part = np.empty(load, np.int16)
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

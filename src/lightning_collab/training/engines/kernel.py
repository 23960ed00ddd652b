"""Many optimiser steps of a factor model in one call.

Each step is the step of the whole batch at the weights before it, as autograd takes it. A row is
touched only by the batches that have a rating of it: what it has missed meanwhile (momentum,
moments, weight decay) it takes when it is touched next, and every row at the end, so that a step
costs what its batch costs whatever the number of rows.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lightning_collab.training.engines.adam_rule import adam_catch_up, adam_step
from lightning_collab.training.engines.numba_options import INNER, KERNEL
from lightning_collab.training.engines.sgd_rule import sgd_catch_up, sgd_step
from lightning_collab.training.engines.update_rule import ADAM, FROZEN, KIND, RESTING, ROW_DECAY


class Table(NamedTuple):
    """A lookup table with what its optimiser remembers.

    Attributes:
        weight: float [rows, width].
        first: float [rows, width], momentum or first moment.
        second: float [rows, width], second moment (of SGD: no rows).
    """

    weight: NDArray[np.floating]
    first: NDArray[np.floating]
    second: NDArray[np.floating]


class Side(NamedTuple):
    """Users or items in a stretch of steps.

    Attributes:
        ids: int32 [ratings], the row of each rating.
        factors: width is the number of factors.
        bias: width is 1.
        done: int64 [rows], steps of the stretch that a row has behind it.
        moving: bool [rows], whether a row has ever been touched.
        slot: int32 [rows], its place among the rows of the batch, -1 outside it.
        all_rows: int32 [rows], 0, 1, 2, ...
        rows: int32 [rows of a batch], the rows of the batch.
        counts: int32 [rows of a batch], ratings of each.
        factor_gradients: float [rows of a batch, factors].
        bias_gradients: float [rows of a batch, 1].
    """

    ids: NDArray[np.int32]
    factors: Table
    bias: Table
    done: NDArray[np.int64]
    moving: NDArray[np.bool_]
    slot: NDArray[np.int32]
    all_rows: NDArray[np.int32]
    rows: NDArray[np.int32]
    counts: NDArray[np.int32]
    factor_gradients: NDArray[np.floating]
    bias_gradients: NDArray[np.floating]


class Output(NamedTuple):
    """From raw number to rating; see `RatingOutput`.

    Attributes:
        sigmoid: low + span * sigmoid(raw); else low + raw.
        low: rating units.
        span: rating units.
    """

    sigmoid: bool
    low: float
    span: float


@njit(**KERNEL)
def train_stretch(  # type: ignore[no-untyped-def]
    users, items, embeddings, biases, ratings, output, batch_size, lazy, clip, losses, penalties
):
    """Take the steps of a stretch of batches.

    Args:
        users: `Side`, changed in place.
        items: `Side`, changed in place.
        embeddings: `UpdateRule` of the factors.
        biases: `UpdateRule` of the biases.
        ratings: float [n].
        output: `Output`.
        batch_size: ratings of a batch; the last may be smaller.
        lazy: rows that a batch does not touch stay as they are.
        clip: norm to which the gradient is clipped; 0: not.
        losses: float64 [steps], filled with the sum of squared errors of each batch.
        penalties: float64 [steps], filled with the penalty of each batch, divided by its size;
            float64 [0]: not asked for.

    Returns:
        Steps taken: fewer than there are where a loss is no number; that step is not taken.
    """
    steps = losses.shape[0]
    for step in range(steps):
        first = step * batch_size
        last = min(ratings.shape[0], first + batch_size)
        of_each = 1.0 / (last - first)
        user_rows = _enter(users, first, last)
        item_rows = _enter(items, first, last)
        if not lazy:
            _catch_up(users, users.rows, user_rows, embeddings, biases, step)
            _catch_up(items, items.rows, item_rows, embeddings, biases, step)
        losses[step] = _gradients(
            users.ids[first:last],
            items.ids[first:last],
            ratings[first:last],
            users.slot,
            items.slot,
            users.factors.weight,
            items.factors.weight,
            users.bias.weight,
            items.bias.weight,
            users.factor_gradients,
            items.factor_gradients,
            users.bias_gradients,
            items.bias_gradients,
            output,
        )
        if not np.isfinite(losses[step]):
            _leave(users, user_rows, step)
            _leave(items, item_rows, step)
            return step
        scale = 1.0
        if clip > 0 or penalties.shape[0] > 0:
            penalty = _penalise(users, user_rows, embeddings, biases, of_each)
            penalty += _penalise(items, item_rows, embeddings, biases, of_each)
            of_each = 0.0  # the penalty is in the gradient now
            if penalties.shape[0] > 0:
                penalties[step] = penalty
        if clip > 0:
            squares = _squares(users, user_rows, embeddings, biases)
            squares += _squares(items, item_rows, embeddings, biases)
            scale = min(1.0, clip / (np.sqrt(squares) + 1e-6))
        _update(users, user_rows, embeddings, biases, step, scale, of_each)
        _update(items, item_rows, embeddings, biases, step, scale, of_each)
        _leave(users, user_rows, step + 1)
        _leave(items, item_rows, step + 1)
    if not lazy:
        _catch_up(users, users.all_rows, users.all_rows.shape[0], embeddings, biases, steps)
        _catch_up(items, items.all_rows, items.all_rows.shape[0], embeddings, biases, steps)
    return steps


@njit(**INNER)
def _enter(side, first, last):  # type: ignore[no-untyped-def]
    """Give each row of a batch a place; returns how many rows there are."""
    return _enter_rows(
        side.ids[first:last],
        side.slot,
        side.rows,
        side.counts,
        side.factor_gradients,
        side.bias_gradients,
    )


@njit(**INNER)
def _enter_rows(ids, slot, rows, counts, factor_gradients, bias_gradients):  # type: ignore[no-untyped-def]
    entered = 0
    for n in range(ids.shape[0]):
        row = ids[n]
        place = slot[row]
        if place < 0:
            place = entered
            entered += 1
            slot[row] = place
            rows[place] = row
            counts[place] = 0
            bias_gradients[place, 0] = 0
            for f in range(factor_gradients.shape[1]):
                factor_gradients[place, f] = 0
        counts[place] += 1
    return entered


@njit(**INNER)
def _leave(side, count, done):  # type: ignore[no-untyped-def]
    """Take their places from the rows of a batch."""
    _leave_rows(side.rows, count, side.slot, side.done, side.moving, done)


@njit(**INNER)
def _leave_rows(rows, count, slot, done, moving, steps):  # type: ignore[no-untyped-def]
    for place in range(count):
        row = rows[place]
        slot[row] = -1
        done[row] = steps
        moving[row] = True


@njit(**INNER)
def _catch_up(side, rows, count, embeddings, biases, step):  # type: ignore[no-untyped-def]
    """Take the steps before `step` that some rows have missed."""
    _catch_up_rows(side.factors, rows, count, side.done, side.moving, embeddings, step)
    _catch_up_rows(side.bias, rows, count, side.done, side.moving, biases, step)


@njit(**INNER)
def _catch_up_rows(table, rows, count, done, moving, rule, step):  # type: ignore[no-untyped-def]
    numbers, steps, chain = rule.numbers, rule.steps, rule.chain
    weight, first, second = table.weight, table.first, table.second
    if numbers[KIND] == FROZEN:
        return
    if numbers[KIND] == ADAM:
        for place in range(count):
            row = rows[place]
            if done[row] < step and (moving[row] or numbers[RESTING] == 0):
                adam_catch_up(weight[row], first[row], second[row], numbers, steps, done[row], step)
    else:
        for place in range(count):
            row = rows[place]
            if done[row] < step and (moving[row] or numbers[RESTING] == 0):
                sgd_catch_up(weight[row], first[row], chain, done[row], step)


@njit(**INNER)
def _gradients(  # type: ignore[no-untyped-def]
    users,
    items,
    ratings,
    user_slot,
    item_slot,
    user_factors,
    item_factors,
    user_bias,
    item_bias,
    user_factor_gradients,
    item_factor_gradients,
    user_bias_gradients,
    item_bias_gradients,
    output,
):
    """Add the gradients of the mean squared error; returns the sum of squared errors."""
    kind = ratings.dtype.type
    one, low, span = kind(1), kind(output.low), kind(output.span)
    twice_mean = kind(2.0 / ratings.shape[0])
    loss = 0.0
    for n in range(ratings.shape[0]):
        user, item = users[n], items[n]
        p, q = user_factors[user], item_factors[item]
        raw = user_bias[user, 0] + item_bias[item, 0] + _dot(p, q)
        if output.sigmoid:
            share = one / (one + np.exp(-raw))
            error = low + share * span - ratings[n]
            slope = twice_mean * error * span * share * (one - share)
        else:
            error = low + raw - ratings[n]
            slope = twice_mean * error
        loss += np.float64(error) * np.float64(error)
        a, b = user_slot[user], item_slot[item]
        _add(user_factor_gradients[a], slope, q)
        _add(item_factor_gradients[b], slope, p)
        user_bias_gradients[a, 0] += slope
        item_bias_gradients[b, 0] += slope
    return loss


@njit(**INNER)
def _dot(p, q):  # type: ignore[no-untyped-def]
    total = p.dtype.type(0)
    for f in range(p.shape[0]):
        total += p[f] * q[f]
    return total


@njit(**INNER)
def _add(gradient, slope, other):  # type: ignore[no-untyped-def]
    for f in range(gradient.shape[0]):
        gradient[f] += slope * other[f]


@njit(**INNER)
def _penalise(side, count, embeddings, biases, of_each):  # type: ignore[no-untyped-def]
    """Add the gradient of the penalty on touched rows; returns the penalty."""
    total = 0.0
    for place in range(count):
        row, share = side.rows[place], side.counts[place] * of_each
        total += _pull(
            side.factor_gradients[place],
            side.factors.weight[row],
            embeddings.numbers[ROW_DECAY] * share,
        )
        total += _pull(
            side.bias_gradients[place], side.bias.weight[row], biases.numbers[ROW_DECAY] * share
        )
    return total


@njit(**INNER)
def _pull(gradient, weight, decay):  # type: ignore[no-untyped-def]
    kind = weight.dtype.type
    squares, factor = kind(0), kind(decay)
    for f in range(weight.shape[0]):
        gradient[f] += factor * weight[f]
        squares += weight[f] * weight[f]
    return decay / 2 * np.float64(squares)


@njit(**INNER)
def _squares(side, count, embeddings, biases):  # type: ignore[no-untyped-def]
    """Sum of squares of the gradients of the groups that are trained."""
    total = 0.0
    for place in range(count):
        if embeddings.numbers[KIND] != FROZEN:
            gradient = side.factor_gradients[place]
            total += np.float64(_dot(gradient, gradient))
        if biases.numbers[KIND] != FROZEN:
            total += np.float64(side.bias_gradients[place, 0]) ** 2
    return total


@njit(**INNER)
def _update(side, count, embeddings, biases, step, scale, of_each):  # type: ignore[no-untyped-def]
    """Move the rows of a batch."""
    rows, counts = side.rows, side.counts
    _update_rows(
        side.factors, rows, counts, count, side.factor_gradients, embeddings, step, scale, of_each
    )
    _update_rows(side.bias, rows, counts, count, side.bias_gradients, biases, step, scale, of_each)


@njit(**INNER)
def _update_rows(  # type: ignore[no-untyped-def]
    table, rows, counts, count, gradients, rule, step, scale, of_each
):
    numbers, steps, chain = rule.numbers, rule.steps, rule.chain
    weight, first, second = table.weight, table.first, table.second
    if numbers[KIND] == FROZEN:
        return
    pull = numbers[ROW_DECAY] * of_each
    if numbers[KIND] == ADAM:
        for place in range(count):
            row = rows[place]
            adam_step(
                weight[row],
                first[row],
                second[row],
                gradients[place],
                numbers,
                steps,
                step,
                scale,
                pull * counts[place],
            )
    else:
        for place in range(count):
            row = rows[place]
            sgd_step(
                weight[row],
                first[row],
                gradients[place],
                steps,
                chain,
                step,
                scale,
                pull * counts[place],
            )

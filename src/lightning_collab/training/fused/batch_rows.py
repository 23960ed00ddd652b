"""Rows of tables in the steps of a block: which a batch touches, what they missed, their step.

A row is touched only by the batches that have a rating of it: what it has missed meanwhile
(momentum, moments, weight decay) it takes when it is touched next, and every row at the end, so
that a step costs what its batch costs whatever the number of rows.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_collab.kernel_cache import INNER, cached_njit
from lightning_collab.training.fused.adam_rule import adam_catch_up, adam_step
from lightning_collab.training.fused.sgd_rule import sgd_catch_up, sgd_step
from lightning_collab.training.fused.update_rule import ADAM, FROZEN, KIND, RESTING, ROW_DECAY

Array = NDArray[Any]


class Table(NamedTuple):
    """A lookup table with what its optimizer remembers.

    Attributes:
        weight: float [rows, width].
        first: float [rows, width], momentum or first moment.
        second: float [rows, width], second moment (of SGD: no rows).
    """

    weight: NDArray[np.floating]
    first: NDArray[np.floating]
    second: NDArray[np.floating]


class TrainedRows(NamedTuple):
    """Users, items, features or periods in a block of steps.

    Attributes:
        ids: int32 [ratings], the row of each rating; of features, which a rating has several of, no
            ids; of periods, those of each rating side by side.
        factors: width is the number of factors; of periods 0.
        bias: width is 1.
        done: int64 [rows], steps of the block that a row has behind it.
        moving: bool [rows], whether a row has ever been touched.
        slot: int32 [rows], its place among the rows of the batch, -1 outside it.
        all_rows: int32 [rows], 0, 1, 2, ...
        rows: int32 [rows of a batch], the rows of the batch.
        counts: [rows of a batch], how much the ratings use each: int32, the number of ratings;
            where there are features float64, and of a feature the sum of x^2 over the ratings.
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
    counts: NDArray[np.int32] | NDArray[np.float64]
    factor_gradients: NDArray[np.floating]
    bias_gradients: NDArray[np.floating]


class Workspaces:
    """Workspaces by name, made when first asked for.

    Args:
        counts: type of the counts in a batch; see `TrainedRows`.
    """

    def __init__(self, counts: type[np.int32] | type[np.float64]) -> None:
        self._counts = counts
        self._kept: dict[str, dict[str, Array]] = {}

    def clear(self) -> None:
        """Forget which rows have been touched, since the optimizer's state is another."""
        self._kept.clear()

    def rows(self, name: str, ids: Array, factors: Table, bias: Table, places: int) -> TrainedRows:
        """Rows as they are at the beginning of a block of steps.

        Args:
            name: what they are of.
            ids: int [n], the row of each rating.
            factors: their factors.
            bias: their biases.
            places: rows that a batch has at most.
        """
        work = self._kept.get(name)
        if work is None or len(work["rows"]) != places:
            work = self._kept[name] = self._new(factors, bias, places)
        work["done"][:] = 0
        return TrainedRows(ids.astype(np.int32, copy=False), factors, bias, **work)

    def _new(self, factors: Table, bias: Table, places: int) -> dict[str, Array]:
        """All of `TrainedRows` that is no table and no id; see there."""
        weight = factors.weight
        rows = len(weight)
        moving = np.zeros(rows, np.bool_)
        for remembered in (factors.first, factors.second, bias.first, bias.second):
            if len(remembered):
                moving |= np.any(remembered, axis=1)
        return {
            "done": np.zeros(rows, np.int64),
            "moving": moving,
            "slot": np.full(rows, -1, np.int32),
            "all_rows": np.arange(rows, dtype=np.int32),
            "rows": np.zeros(places, np.int32),
            "counts": np.zeros(places, self._counts),
            "factor_gradients": np.zeros((places, weight.shape[1]), weight.dtype),
            "bias_gradients": np.zeros((places, 1), weight.dtype),
        }


@cached_njit(**INNER)
def enter(side, first, last):  # type: ignore[no-untyped-def]
    """Give each row of a batch a place; returns how many rows there are."""
    return _enter_rows(
        side.ids[first:last],
        side.slot,
        side.rows,
        side.counts,
        side.factor_gradients,
        side.bias_gradients,
    )


@cached_njit(**INNER)
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


@cached_njit(**INNER)
def leave(side, count, done):  # type: ignore[no-untyped-def]
    """Take their places from the rows of a batch."""
    _leave_rows(side.rows, count, side.slot, side.done, side.moving, done)


@cached_njit(**INNER)
def _leave_rows(rows, count, slot, done, moving, steps):  # type: ignore[no-untyped-def]
    for place in range(count):
        row = rows[place]
        slot[row] = -1
        done[row] = steps
        moving[row] = True


@cached_njit(**INNER)
def catch_up(side, rows, count, embeddings, biases, step):  # type: ignore[no-untyped-def]
    """Take the steps before `step` that some rows have missed."""
    _catch_up_rows(side.factors, rows, count, side.done, side.moving, embeddings, step)
    _catch_up_rows(side.bias, rows, count, side.done, side.moving, biases, step)


@cached_njit(**INNER)
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


@cached_njit(**INNER)
def dot(p, q):  # type: ignore[no-untyped-def]
    """The dot product of two rows."""
    total = p.dtype.type(0)
    for f in range(p.shape[0]):
        total += p[f] * q[f]
    return total


@cached_njit(**INNER)
def add(gradient, slope, other):  # type: ignore[no-untyped-def]
    """Add a multiple of a row to a gradient."""
    for f in range(gradient.shape[0]):
        gradient[f] += slope * other[f]


@cached_njit(**INNER)
def penalise(side, count, embeddings, biases, of_each):  # type: ignore[no-untyped-def]
    """Add the gradient of the penalty on touched rows; returns the penalty."""
    total = 0.0
    for place in range(count):
        row, share = side.rows[place], side.counts[place] * of_each
        total += pull(
            side.factor_gradients[place],
            side.factors.weight[row],
            embeddings.numbers[ROW_DECAY] * share,
        )
        total += pull(
            side.bias_gradients[place], side.bias.weight[row], biases.numbers[ROW_DECAY] * share
        )
    return total


@cached_njit(**INNER)
def pull(gradient, weight, decay):  # type: ignore[no-untyped-def]
    """Add the gradient of the penalty on some weights; returns the penalty."""
    kind = weight.dtype.type
    squares, factor = kind(0), kind(decay)
    for f in range(weight.shape[0]):
        gradient[f] += factor * weight[f]
        squares += weight[f] * weight[f]
    return decay / 2 * np.float64(squares)


@cached_njit(**INNER)
def gradient_squares(side, count, embeddings, biases):  # type: ignore[no-untyped-def]
    """Sum of squares of the gradients of the groups that are trained."""
    total = 0.0
    for place in range(count):
        if embeddings.numbers[KIND] != FROZEN:
            gradient = side.factor_gradients[place]
            total += np.float64(dot(gradient, gradient))
        if biases.numbers[KIND] != FROZEN:
            total += np.float64(side.bias_gradients[place, 0]) ** 2
    return total


@cached_njit(**INNER)
def update(side, count, embeddings, biases, step, scale, of_each):  # type: ignore[no-untyped-def]
    """Move the rows of a batch."""
    rows, counts = side.rows, side.counts
    _update_rows(
        side.factors, rows, counts, count, side.factor_gradients, embeddings, step, scale, of_each
    )
    _update_rows(side.bias, rows, counts, count, side.bias_gradients, biases, step, scale, of_each)


@cached_njit(**INNER)
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

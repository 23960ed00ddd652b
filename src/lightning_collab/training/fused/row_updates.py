"""Adam on the tables of a model in one pass over memory, for losses that rank."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_collab.kernel_cache import KERNEL, cached_njit

Array = NDArray[Any]


@cached_njit(**KERNEL)
def adam_on_all(weight, first, second, gradient, decay, scale, numbers):  # type: ignore[no-untyped-def]
    """A step of every row of a table; the gradient is zeroed.

    Kingma and Ba (2015), algorithm 1, with the gradient g * scale + decay_r * w of row r.

    Args:
        weight: float [rows, width], changed in place; so are the next two.
        first: moment.
        second: moment.
        gradient: float [rows, width], sums over a batch.
        decay: float [rows], of each row, already divided by the batch's terms.
        scale: what the gradient is multiplied with.
        numbers: float64 [6]: rate over the first bias correction, root of the second one,
            1 - beta1, beta2, 1 - beta2, eps.
    """
    kind = weight.dtype.type
    rate, root = kind(numbers[0]), kind(1 / numbers[1])
    left1, beta2, left2, eps = (
        kind(numbers[2]),
        kind(numbers[3]),
        kind(numbers[4]),
        kind(numbers[5]),
    )
    factor = kind(scale)
    for row in range(len(weight)):
        shrink = decay[row]
        for n in range(weight.shape[1]):
            g = gradient[row, n] * factor + shrink * weight[row, n]
            gradient[row, n] = 0
            m = first[row, n] + left1 * (g - first[row, n])
            v = beta2 * second[row, n] + left2 * g * g
            first[row, n], second[row, n] = m, v
            weight[row, n] -= rate * m / (np.sqrt(v) * root + eps)


@cached_njit(**KERNEL)
def adam_on_rows(  # type: ignore[no-untyped-def]
    rows, weight, first, second, steps, gradient, decay, touches, scale, rate, beta1, beta2, eps
):
    """A step of some rows, each by its own number of steps; their gradients are zeroed.

    A row whose gradient is zero throughout stands still, as `RowAdam` has it.

    Args:
        rows: int [n], each once.
        weight: float [rows, width], changed in place; so are the next three.
        first: moment.
        second: moment.
        steps: float32 [rows, 1].
        gradient: float [rows, width], sums over a batch.
        decay: float [rows], of a touch of each row, already divided by the batch's terms.
        touches: int32 [rows], how often the batch touches each row.
        scale: what the gradient is multiplied with.
        rate: of this step.
        beta1: of Adam.
        beta2: of Adam.
        eps: of Adam.
    """
    kind = weight.dtype.type
    left1, kept2, left2, added = kind(1 - beta1), kind(beta2), kind(1 - beta2), kind(eps)
    factor = kind(scale)
    for row in rows:
        shrink = decay[row] * touches[row]
        found = False
        for n in range(weight.shape[1]):
            gradient[row, n] = gradient[row, n] * factor + shrink * weight[row, n]
            found = found or gradient[row, n] != 0
        if found:
            steps[row, 0] += 1
            count = steps[row, 0]
            by_rate = kind(rate / (1 - beta1**count))
            root = kind(1 / np.sqrt(1 - beta2**count))
            for n in range(weight.shape[1]):
                g = gradient[row, n]
                m = first[row, n] + left1 * (g - first[row, n])
                v = kept2 * second[row, n] + left2 * g * g
                first[row, n], second[row, n] = m, v
                weight[row, n] -= by_rate * m / (np.sqrt(v) * root + added)
        gradient[row] = 0


BCE, BPR = 0, 1


@cached_njit(**KERNEL)
def pair_gradients(  # type: ignore[no-untyped-def]
    kind, users, items, drawn, weights, user_factors, item_factors, user_bias, item_bias,
    user_gradient, item_gradient, user_bias_gradient, item_bias_gradient,
):  # fmt: skip
    """The loss of a batch of pairs with drawn items, and its gradients added to those of rows.

    Args:
        kind: BCE or BPR.
        users: int32 [B].
        items: int32 [B].
        drawn: int32 [B, negatives].
        weights: float32 [B]; [0]: all 1.
        user_factors: float [rows, factors]; so are the items'.
        item_factors: see there.
        user_bias: float [rows, 1]; so are the items'.
        item_bias: see there.
        user_gradient: float [rows, factors], added to; so are the next three.
        item_gradient: see there.
        user_bias_gradient: see there.
        item_bias_gradient: see there.

    Returns:
        The sum of the losses.
    """
    total = 0.0
    width, negatives = user_factors.shape[1], drawn.shape[1]
    real = user_factors.dtype.type
    for b in range(len(users)):
        user, item = users[b], items[b]
        weight = real(1) if len(weights) == 0 else real(weights[b])
        own = _dot(user_factors, user, item_factors, item)
        own += user_bias[user, 0] + item_bias[item, 0]
        of_own = real(0)
        if kind == BCE:
            total += weight * _softplus(-own)
            of_own = -weight * _sigmoid(-own)
        for n in range(negatives):
            other = drawn[b, n]
            score = _dot(user_factors, user, item_factors, other)
            score += user_bias[user, 0] + item_bias[other, 0]
            if kind == BCE:
                total += weight * _softplus(score)
                slope = weight * _sigmoid(score)
                user_bias_gradient[user, 0] += slope
            else:
                total += weight * _softplus(score - own)
                slope = weight * _sigmoid(score - own)
                of_own -= slope
            for f in range(width):
                user_gradient[user, f] += slope * item_factors[other, f]
                item_gradient[other, f] += slope * user_factors[user, f]
            item_bias_gradient[other, 0] += slope
        for f in range(width):
            user_gradient[user, f] += of_own * item_factors[item, f]
            item_gradient[item, f] += of_own * user_factors[user, f]
        item_bias_gradient[item, 0] += of_own
        if kind == BCE:
            user_bias_gradient[user, 0] += of_own
    return total


@cached_njit(**KERNEL)
def touched_rows(ids, touches, counted, rows, count):  # type: ignore[no-untyped-def]
    """Add rows that are touched to a list, each once.

    Args:
        ids: int32 [n].
        touches: int32 [rows], -1 for a row that is not in the list; how often it is touched.
        counted: whether these touches count for the decay.
        rows: int32, the list.
        count: how many are in it.

    Returns:
        How many are in it then.
    """
    for n in range(len(ids)):
        row = ids[n]
        if touches[row] < 0:
            touches[row] = 0
            rows[count] = row
            count += 1
        if counted:
            touches[row] += 1
    return count


@cached_njit(**{**KERNEL, "inline": "always"})
def _dot(one, row, other, column):  # type: ignore[no-untyped-def]
    total = one.dtype.type(0)
    for f in range(one.shape[1]):
        total += one[row, f] * other[column, f]
    return total


@cached_njit(**KERNEL)
def _softplus(x):  # type: ignore[no-untyped-def]
    return max(x, 0.0) + np.log1p(np.exp(-abs(x)))


@cached_njit(**KERNEL)
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return 1 / (1 + np.exp(-x))

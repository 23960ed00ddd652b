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
    rows, weight, first, second, steps, gradient, decay, scale, rate, beta1, beta2, eps
):
    """A step of some rows, each by its own number of steps; their gradients are zeroed.

    A row whose gradient is zero throughout is not updated, as in `RowAdam`.

    Args:
        rows: int [n], each once.
        weight: float [rows, width], changed in place; so are the next three.
        first: moment.
        second: moment.
        steps: float32 [rows, 1].
        gradient: float [rows, width], sums over a batch.
        decay: float [rows], of each row, already divided by the batch's terms.
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
        shrink = decay[row]
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

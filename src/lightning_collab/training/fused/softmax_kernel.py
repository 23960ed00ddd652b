"""What softmax does to a block of scores between two matrix products, in one pass over each row."""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from lightning_collab.kernel_cache import INNER, KERNEL, cached_njit

# Below it exp is no normal number of single precision.
LOWEST = np.float32(-87.0)
PER_LOG2 = np.float32(1.4426950408889634)
# log 2 in two parts, of which the first times a whole number below 2^10 is exact (Cody and Waite).
LOG2_HIGH, LOG2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# exp(r) = 1 + r + r^2 P(r) for |r| <= log(2) / 2, to 1e-7 (Cephes, expf).
P0, P1, P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
P3, P4, P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
ONE, HALF = np.float32(1), np.float32(0.5)

# Without reordering, by which the two parts of log 2 would become one.
EXACT: dict[str, Any] = {**INNER, "fastmath": {"contract"}}


@intrinsic
def _bits_as_float(context: Any, bits: Any) -> Any:
    """The float32 that has the bits of an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


@cached_njit(**EXACT)
def _exp_single(x):  # type: ignore[no-untyped-def]
    """The exponential of a float32 that is not above 0, in instructions that have vector forms."""
    within = x if x > LOWEST else LOWEST
    whole = np.floor(within * PER_LOG2 + HALF)
    r = within - whole * LOG2_HIGH - whole * LOG2_LOW
    p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    bits = (np.int32(whole) + np.int32(127)) << np.int32(23)
    power = _bits_as_float(bits)  # type: ignore[call-arg, var-annotated]
    value = (p * r * r + r + ONE) * power
    # NaN stays NaN.
    return value if x > LOWEST else (np.float32(0) if x <= LOWEST else x)


def exp_of(x: Any) -> Any:
    """The exponential of a number that is not above 0."""
    return np.exp(x)


@overload(exp_of, inline="always")
def _exp_of(x):  # type: ignore[no-untyped-def]
    if x == types.float32:
        return lambda x: _exp_single(x)
    return lambda x: np.exp(x)


@cached_njit(**KERNEL)
def softmax_gradients(scores, highest, ends, columns, weights, bias_gradient):  # type: ignore[no-untyped-def]
    """Turn scores into the gradient of the loss over them.

    That of user u and item j is the sum of the weights of the user's choices times the probability
    of j, less the weight of the choice of j.

    Args:
        scores: float [users, items], changed in place; -inf for what is no negative.
        highest: float [users], of each row.
        ends: int64 [users + 1], where the choices of each user begin and end.
        columns: int32 [choices], the item of each, numbered from 1.
        weights: float32 [choices]; [0]: all 1.
        bias_gradient: float [items], added to: sums over the users.

    Returns:
        The sum of the losses.
    """
    kind = scores.dtype.type
    alike = len(weights) == 0
    total = 0.0
    for user in range(len(scores)):
        row, top = scores[user], highest[user]
        chosen = count = 0.0
        for place in range(ends[user], ends[user + 1]):
            weight = 1.0 if alike else np.float64(weights[place])
            chosen += weight * np.float64(row[columns[place] - 1] - top)
            count += weight
        summed = kind(0)
        for n in range(len(row)):
            value = exp_of(row[n] - top)
            row[n] = value
            summed += value
        total += count * np.log(np.float64(summed)) - chosen
        factor = kind(count / np.float64(summed))
        for n in range(len(row)):
            value = row[n] * factor
            row[n] = value
            bias_gradient[n] += value
        for place in range(ends[user], ends[user + 1]):
            weight = kind(1) if alike else kind(weights[place])
            column = columns[place] - 1
            row[column] -= weight
            bias_gradient[column] -= weight
    return total

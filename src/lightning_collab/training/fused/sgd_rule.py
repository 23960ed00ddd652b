"""SGD with momentum as the kernels take it: linear in weight and momentum.

Without a gradient a step of SGD maps (w, v), weight and momentum, to A (w, v) with a 2 x 2 matrix A
of the step's learning rate, so that any number of missed steps is one matrix. The products are kept
for all aligned blocks of 2^k steps; those that a gap is made of are multiplied. (Prefix products
would need an inverse of a matrix whose determinant is momentum^steps.)
"""

import numpy as np

from lightning_collab.config.optimizer import SGDConfig
from lightning_collab.kernel_cache import INNER, KERNEL, cached_njit
from lightning_collab.training.fused.update_rule import SGD, Numbers, UpdateRule

# The row of `UpdateRule.steps`.
GAIN = 0


def sgd_rule(config: SGDConfig, rates: Numbers, decay: float) -> UpdateRule:
    """The rule of one group.

    Args:
        config: the `optimizer` section.
        rates: float64 [steps], the group's learning rate.
        decay: the group's weight decay.
    """
    momentum = config.momentum
    matrices = np.empty((len(rates), 4))
    # A gradient d moves momentum to v' = momentum v + d and the weight by -rate (past v + now d).
    past, now = (momentum**2, 1 + momentum) if config.nesterov else (momentum, 1.0)
    bent = decay if config.decay == "gradient" else 0.0
    shrink = 1 - rates * decay if config.decay == "decoupled" else np.ones_like(rates)
    matrices[:, 0] = shrink - rates * now * bent
    matrices[:, 1] = -rates * past
    matrices[:, 2] = bent
    matrices[:, 3] = momentum
    numbers = UpdateRule.numbers_of(SGD, config, decay)
    return UpdateRule(numbers, np.append(rates * now, 0.0)[None], chained(matrices))


@cached_njit(**KERNEL)
def chained(matrices):  # type: ignore[no-untyped-def]
    """Products of the steps in all aligned blocks of 1, 2, 4, ... steps.

    Args:
        matrices: float64 [steps, 4], row by row.

    Returns:
        float64 [levels, steps, 4]; entry [k, j] is the product of steps j * 2^k to (j + 1) * 2^k.
    """
    steps = matrices.shape[0]
    levels = 1
    while (1 << levels) <= steps:
        levels += 1
    chain = np.zeros((levels, steps, 4))
    for j in range(steps):
        for number in range(4):
            chain[0, j, number] = matrices[j, number]
    for k in range(1, levels):
        for j in range(steps >> k):
            first, then = chain[k - 1, 2 * j], chain[k - 1, 2 * j + 1]
            chain[k, j, 0] = then[0] * first[0] + then[1] * first[2]
            chain[k, j, 1] = then[0] * first[1] + then[1] * first[3]
            chain[k, j, 2] = then[2] * first[0] + then[3] * first[2]
            chain[k, j, 3] = then[2] * first[1] + then[3] * first[3]
    return chain


@cached_njit(**INNER)
def missed(chain, start, end):  # type: ignore[no-untyped-def]
    """The product of the steps from `start` to before `end`, as four numbers."""
    a, b, c, d = 1.0, 0.0, 0.0, 1.0
    k = 0
    while start < end:
        while (start >> k) & 1 == 0 and start + (2 << k) <= end:
            k += 1
        while start + (1 << k) > end:
            k -= 1
        m = chain[k, start >> k]
        a, b, c, d = (
            m[0] * a + m[1] * c,
            m[0] * b + m[1] * d,
            m[2] * a + m[3] * c,
            m[2] * b + m[3] * d,
        )
        start += 1 << k
    return a, b, c, d


@cached_njit(**INNER)
def sgd_catch_up(weight, momentum, chain, start, end):  # type: ignore[no-untyped-def]
    """Take the steps that a row has missed.

    Args:
        weight: float [width], changed in place.
        momentum: float [width], changed in place.
        chain: of its group's rule.
        start: steps that the row has behind it.
        end: steps that it should have behind it.
    """
    kind = weight.dtype.type
    a64, b64, c64, d64 = missed(chain, start, end)
    a, b, c, d = kind(a64), kind(b64), kind(c64), kind(d64)
    for f in range(weight.shape[0]):
        w, v = weight[f], momentum[f]
        weight[f] = a * w + b * v
        momentum[f] = c * w + d * v


@cached_njit(**INNER)
def sgd_step(weight, momentum, gradient, steps, chain, step, scale, penalty):  # type: ignore[no-untyped-def]
    """One step of a row that a batch touches.

    Args:
        weight: float [width], changed in place.
        momentum: float [width], changed in place.
        gradient: float [width], of the squared errors.
        steps: of its group's rule.
        chain: of its group's rule.
        step: which, in the block of steps.
        scale: factor on the gradient (clipping).
        penalty: factor on the weight that is added to the gradient (decay of touched rows).
    """
    kind = weight.dtype.type
    m, gain = chain[0, step], steps[GAIN, step]
    a, b, c, d = kind(m[0] - gain * penalty), kind(m[1]), kind(m[2] + penalty), kind(m[3])
    down, up = kind(-gain * scale), kind(scale)
    for f in range(weight.shape[0]):
        w, v, g = weight[f], momentum[f], gradient[f]
        weight[f] = a * w + b * v + down * g
        momentum[f] = c * w + d * v + up * g

"""Adam as the kernels take it, with the steps that a row misses summed where a sum exists.

While a row gets no gradient its moments shrink by beta1 and beta2 a step, so that its weight moves
by

    - m * sum_j rate_j beta1^j / (sqrt(v) beta2^(j/2) + eps root_j)

over the missed steps j = 1, 2, ... Expanded in eps / sqrt(v), each term is a sum that depends on
the steps alone; from sums to the end of the block of steps it is had by one subtraction, whatever
the gap. Elements with sqrt(v) too near eps take the steps one by one, as does everything where
weight decay bends the gradient, since then each step depends on the weight.
"""

import math

import numpy as np

from lightning_collab.config.optimizer import AdamConfig
from lightning_collab.kernel_cache import INNER, KERNEL, cached_njit
from lightning_collab.training.fused.update_rule import ADAM, NO_CHAIN, Numbers, UpdateRule

# Places in `UpdateRule.numbers` after those of any rule.
BETA1, BETA2, EPS, DECAY, WINDOW, SERIES = range(3, 9)

# Rows of `UpdateRule.steps`.
RATE, ROOT, SHRINK, SHRINK_AFTER, POWER1, POWER2, STRETCHED, SUMS = range(8)
# Terms of the series in eps / sqrt(v) by which missed steps are summed.
SERIES_TERMS = 8

# A first moment that has shrunk by this, compared with sqrt(v), moves no weight.
NEGLIGIBLE = 1e-20

# What the terms of the series cost, in elements of a row that take one step: missed steps that cost
# less are quicker taken one by one. That a step of a row costs beside its elements.
SERIES_COST, STEP_COST = 200, 8

# Largest eps / sqrt(v) in the sums: the terms left out are below 0.02^8 = 3e-14 of the whole.
SERIES_REACH = 0.02


def adam_rule(config: AdamConfig, rates: Numbers, decay: float, done: int) -> UpdateRule:
    """The rule of one group.

    Args:
        config: the `optimizer` section.
        rates: float64 [steps], the group's learning rate.
        decay: the group's weight decay.
        done: steps that the moments have behind them, for the bias corrections.
    """
    count = done + 1 + np.arange(len(rates))
    gaps = np.arange(len(rates) + 1)
    bent = decay if config.decay == "gradient" else 0.0
    steps = np.zeros((SUMS + SERIES_TERMS, len(rates) + 1))
    steps[ROOT, :-1] = np.sqrt(1 - config.beta2**count)
    steps[RATE, :-1] = rates / (1 - config.beta1**count) * steps[ROOT, :-1]
    steps[SHRINK] = 1.0
    if config.decay == "decoupled":
        steps[SHRINK, :-1] -= rates * decay
    steps[SHRINK_AFTER] = np.cumprod(steps[SHRINK, ::-1])[::-1]
    steps[POWER1] = np.float64(config.beta1) ** gaps
    steps[POWER2] = np.float64(config.beta2) ** gaps
    with np.errstate(divide="ignore", over="ignore"):
        steps[STRETCHED] = np.float64(config.beta2) ** (-gaps / 2)
    numbers = UpdateRule.numbers_of(ADAM, config, decay)
    numbers[BETA1], numbers[BETA2], numbers[EPS] = config.beta1, config.beta2, config.eps
    numbers[DECAY] = bent
    numbers[WINDOW] = _window(config, len(rates)) if bent == 0 else len(rates)
    # Each further term stretches the missed steps by 1 / sqrt(beta2); the last must still shrink.
    last = config.beta1 / config.beta2 ** (SERIES_TERMS / 2) if config.beta2 else math.inf
    if bent == 0 and last < 1 and steps[SHRINK_AFTER].min() > 1e-200:
        numbers[SERIES] = 1.0
        sum_to_the_end(steps, config.beta1, config.beta2)
    return UpdateRule(numbers, steps, NO_CHAIN)


def _window(config: AdamConfig, steps: int) -> int:
    """Missed steps after which the first moment no longer moves the weight."""
    ratio = config.beta1 / math.sqrt(config.beta2) if config.beta2 else math.inf
    if ratio >= 1:
        return steps
    if ratio == 0:
        return 1
    return min(steps, math.ceil(math.log(NEGLIGIBLE) / math.log(ratio)))


@cached_njit(**KERNEL)
def sum_to_the_end(steps, beta1, beta2):  # type: ignore[no-untyped-def]
    """Fill in the terms of the series, from each step to the end of the block of steps.

    Entry [SUMS + n, s] becomes the sum over steps t from s on of

        RATE_t ROOT_t^n SHRINK_AFTER_(t+1) (beta1 / beta2^((n+1)/2))^(t - s + 1)

    Args:
        steps: of a rule, changed in place.
        beta1: of Adam.
        beta2: of Adam.
    """
    for n in range(SERIES_TERMS):
        ratio = beta1 / beta2 ** ((n + 1) / 2)
        total = 0.0
        for t in range(steps.shape[1] - 2, -1, -1):
            term = steps[RATE, t] * steps[ROOT, t] ** n * steps[SHRINK_AFTER, t + 1]
            total = ratio * (term + total)
            steps[SUMS + n, t] = total


@cached_njit(**INNER)
def adam_catch_up(weight, first, second, numbers, steps, start, end):  # type: ignore[no-untyped-def]
    """Take the steps that a row has missed.

    Args:
        weight: float [width], changed in place.
        first: float [width], the first moment, changed in place.
        second: float [width], the second moment, changed in place.
        numbers: of its group's rule.
        steps: of its group's rule.
        start: steps that the row has behind it.
        end: steps that it should have behind it.
    """
    cost = (end - start) * (weight.shape[0] + STEP_COST)
    if numbers[SERIES] == 0 or cost < SERIES_COST + weight.shape[0]:
        _one_by_one(weight, first, second, numbers, steps, start, end)
        return
    stop = min(end, start + int(numbers[WINDOW]))
    reach = weight.dtype.type((numbers[EPS] * steps[STRETCHED, stop - start] / SERIES_REACH) ** 2)
    near = 0
    for f in range(weight.shape[0]):
        near += 1 if second[f] <= reach and first[f] != 0 else 0
    if near == 0:
        _summed(weight, first, second, numbers, steps, start, stop, end, reach)
        return
    before = second.copy()
    _summed(weight, first, second, numbers, steps, start, stop, end, reach)
    for f in range(weight.shape[0]):
        if before[f] <= reach and first[f] != 0:
            _one_by_one(
                weight[f : f + 1], first[f : f + 1], second[f : f + 1], numbers, steps, start, end
            )


@cached_njit(**INNER)
def _one_by_one(weight, first, second, numbers, steps, start, end):  # type: ignore[no-untyped-def]
    kind = weight.dtype.type
    stop = min(end, start + int(numbers[WINDOW]))
    beta1, beta2, decay = kind(numbers[BETA1]), kind(numbers[BETA2]), kind(numbers[DECAY])
    new1, new2 = kind(1 - numbers[BETA1]), kind(1 - numbers[BETA2])
    for t in range(start, stop):
        shrink, rate = kind(steps[SHRINK, t]), kind(steps[RATE, t])
        eps = kind(numbers[EPS] * steps[ROOT, t])
        for f in range(weight.shape[0]):
            w = weight[f]
            g = decay * w
            m = beta1 * first[f] + new1 * g
            v = beta2 * second[f] + new2 * g * g
            first[f] = m
            second[f] = v
            weight[f] = shrink * w - rate * m / (np.sqrt(v) + eps)
    if stop < end:
        gap = end - stop
        rest = kind(steps[SHRINK_AFTER, stop] / steps[SHRINK_AFTER, end])
        small1, small2 = kind(steps[POWER1, gap]), kind(steps[POWER2, gap])
        for f in range(weight.shape[0]):
            weight[f] *= rest
            first[f] *= small1
            second[f] *= small2


@cached_njit(**INNER)
def _summed(weight, first, second, numbers, steps, start, stop, end, reach):  # type: ignore[no-untyped-def]
    """The missed steps of the elements that are far from eps, or at rest."""
    kind = weight.dtype.type
    # Term n over the steps from `start` to before `stop`: the sum to the end of the block, less
    # that from `stop` on.
    stretched = steps[STRETCHED, stop - start]
    shrunk = 1 / steps[SHRINK_AFTER, stop]
    p0 = steps[POWER1, stop - start] * stretched
    p1 = p0 * stretched
    p2 = p1 * stretched
    p3 = p2 * stretched
    p4 = p3 * stretched
    p5 = p4 * stretched
    p6 = p5 * stretched
    p7 = p6 * stretched
    c0 = kind((steps[SUMS, start] - p0 * steps[SUMS, stop]) * shrunk)
    c1 = kind((steps[SUMS + 1, start] - p1 * steps[SUMS + 1, stop]) * shrunk)
    c2 = kind((steps[SUMS + 2, start] - p2 * steps[SUMS + 2, stop]) * shrunk)
    c3 = kind((steps[SUMS + 3, start] - p3 * steps[SUMS + 3, stop]) * shrunk)
    c4 = kind((steps[SUMS + 4, start] - p4 * steps[SUMS + 4, stop]) * shrunk)
    c5 = kind((steps[SUMS + 5, start] - p5 * steps[SUMS + 5, stop]) * shrunk)
    c6 = kind((steps[SUMS + 6, start] - p6 * steps[SUMS + 6, stop]) * shrunk)
    c7 = kind((steps[SUMS + 7, start] - p7 * steps[SUMS + 7, stop]) * shrunk)
    shrink = kind(steps[SHRINK_AFTER, start] / steps[SHRINK_AFTER, stop])
    rest = kind(steps[SHRINK_AFTER, stop] / steps[SHRINK_AFTER, end])
    small1, small2 = kind(steps[POWER1, end - start]), kind(steps[POWER2, end - start])
    eps, one, zero = kind(numbers[EPS]), kind(1), kind(0)
    for f in range(weight.shape[0]):
        w, m, v = weight[f], first[f], second[f]
        far = v > reach
        inverse = one / np.sqrt(v if far else one)
        x = -eps * inverse
        total = c0 + x * (c1 + x * (c2 + x * (c3 + x * (c4 + x * (c5 + x * (c6 + x * c7))))))
        moved = rest * (shrink * w - m * inverse * total)
        ours = far or m == zero
        weight[f] = moved if ours else w
        first[f] = small1 * m if ours else m
        second[f] = small2 * v if ours else v


@cached_njit(**INNER)
def adam_step(weight, first, second, gradient, numbers, steps, step, scale, penalty):  # type: ignore[no-untyped-def]
    """One step of a row that a batch touches.

    Args:
        weight: float [width], changed in place.
        first: float [width], the first moment, changed in place.
        second: float [width], the second moment, changed in place.
        gradient: float [width], of the squared errors.
        numbers: of its group's rule.
        steps: of its group's rule.
        step: which, in the block of steps.
        scale: factor on the gradient (clipping).
        penalty: factor on the weight that is added to the gradient (decay of touched rows).
    """
    kind = weight.dtype.type
    beta1, beta2 = kind(numbers[BETA1]), kind(numbers[BETA2])
    new1, new2 = kind(1 - numbers[BETA1]), kind(1 - numbers[BETA2])
    shrink, rate = kind(steps[SHRINK, step]), kind(steps[RATE, step])
    eps = kind(numbers[EPS] * steps[ROOT, step])
    up, pull = kind(scale), kind(penalty + numbers[DECAY])
    for f in range(weight.shape[0]):
        w = weight[f]
        g = up * gradient[f] + pull * w
        m = beta1 * first[f] + new1 * g
        v = beta2 * second[f] + new2 * g * g
        first[f] = m
        second[f] = v
        weight[f] = shrink * w - rate * m / (np.sqrt(v) + eps)

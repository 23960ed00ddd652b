"""Many steps of Adam on chosen pairs with drawn items, in one call.

A step costs what its batch costs: rows without a gradient take what they have missed when they
come next, and at the end of the block, as in `batch_rows`; rows of lazy tables miss nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_collab.kernel_cache import INNER, KERNEL, cached_njit
from lightning_collab.training.fused.adam_rule import BETA1, BETA2, EPS, adam_catch_up, adam_step
from lightning_collab.training.fused.batch_rows import Table, add, dot, enter, leave
from lightning_collab.training.fused.update_rule import FROZEN, KIND, RESTING, UpdateRule

BCE, BPR = 0, 1


class PairTable(NamedTuple):
    """A table in a block of steps.

    Attributes:
        values: its weights and moments.
        rule: of Adam on all rows, or that of a frozen table.
        rates: float64 [steps], learning rate.
        row_steps: float32 [rows, 1], steps that each row of a lazy table has taken; [0, 1]: not
            lazy.
        decays: float64 [rows], weight decay of each row for each choice of it in a batch.
    """

    values: Table
    rule: UpdateRule
    rates: NDArray[np.float64]
    row_steps: NDArray[np.float32]
    decays: NDArray[np.float64]


@cached_njit(**KERNEL)
def train_pairs(  # type: ignore[no-untyped-def]
    loss, batch_size, users, items, user_bias, item_bias, user_rows, item_rows, drawn, weights, sums
):
    """Take the steps of a block of batches.

    Args:
        loss: BCE or BPR.
        batch_size: pairs of a batch; the last may be smaller.
        users: `PairTable` of factors, changed in place; so are the next three.
        items: see there.
        user_bias: see there.
        item_bias: see there.
        user_rows: `TrainedRows` with the user of each pair.
        item_rows: `TrainedRows` with the item that it chose.
        drawn: int32 [pairs, negatives].
        weights: float32 [pairs]; [0]: all 1.
        sums: float64 [steps], filled with the sum of the losses of each batch.

    Returns:
        Steps taken: fewer than there are where a loss is not a number; that step is not taken.
    """
    steps, taken = sums.shape[0], 0
    for step in range(steps):
        first = step * batch_size
        last = min(drawn.shape[0], first + batch_size)
        of_users = enter(user_rows, first, last)
        of_items = enter(item_rows, first, last)
        of_items = _enter_drawn(
            drawn[first:last],
            item_rows.slot,
            item_rows.rows,
            item_rows.counts,
            item_rows.factor_gradients,
            item_rows.bias_gradients,
            of_items,
        )
        _catch_up(users, user_rows, user_rows.rows, of_users, step)
        _catch_up(user_bias, user_rows, user_rows.rows, of_users, step)
        _catch_up(items, item_rows, item_rows.rows, of_items, step)
        _catch_up(item_bias, item_rows, item_rows.rows, of_items, step)
        sums[step] = _gradients(
            loss,
            user_rows.ids[first:last],
            item_rows.ids[first:last],
            drawn[first:last],
            weights[first:last],
            user_rows.slot,
            item_rows.slot,
            users.values.weight,
            items.values.weight,
            user_bias.values.weight,
            item_bias.values.weight,
            user_rows.factor_gradients,
            item_rows.factor_gradients,
            user_rows.bias_gradients,
            item_rows.bias_gradients,
        )
        if not np.isfinite(sums[step]):
            leave(user_rows, of_users, step)
            leave(item_rows, of_items, step)
            break
        of_each = 1.0 / (last - first)
        _update(users, user_rows, user_rows.factor_gradients, of_users, step, of_each)
        _update(user_bias, user_rows, user_rows.bias_gradients, of_users, step, of_each)
        _update(items, item_rows, item_rows.factor_gradients, of_items, step, of_each)
        _update(item_bias, item_rows, item_rows.bias_gradients, of_items, step, of_each)
        leave(user_rows, of_users, step + 1)
        leave(item_rows, of_items, step + 1)
        taken = step + 1
    _catch_up(users, user_rows, user_rows.all_rows, user_rows.all_rows.shape[0], taken)
    _catch_up(user_bias, user_rows, user_rows.all_rows, user_rows.all_rows.shape[0], taken)
    _catch_up(items, item_rows, item_rows.all_rows, item_rows.all_rows.shape[0], taken)
    _catch_up(item_bias, item_rows, item_rows.all_rows, item_rows.all_rows.shape[0], taken)
    return taken


@cached_njit(**INNER)
def _enter_drawn(drawn, slot, rows, counts, factor_gradients, bias_gradients, entered):  # type: ignore[no-untyped-def]
    """Give drawn items a place too, which count as chosen no more often for it."""
    for n in range(drawn.shape[0]):
        for k in range(drawn.shape[1]):
            row = drawn[n, k]
            if slot[row] < 0:
                slot[row] = entered
                rows[entered] = row
                counts[entered] = 0
                bias_gradients[entered, 0] = 0
                for f in range(factor_gradients.shape[1]):
                    factor_gradients[entered, f] = 0
                entered += 1
    return entered


@cached_njit(**INNER)
def _catch_up(table, side, rows, count, step):  # type: ignore[no-untyped-def]
    """Take the steps before `step` that some rows have missed."""
    numbers, steps = table.rule.numbers, table.rule.steps
    weight, first, second = table.values.weight, table.values.first, table.values.second
    done, moving = side.done, side.moving
    if numbers[KIND] == FROZEN or len(table.row_steps) > 0:
        return
    for place in range(count):
        row = rows[place]
        if done[row] < step and (moving[row] or numbers[RESTING] == 0):
            adam_catch_up(weight[row], first[row], second[row], numbers, steps, done[row], step)


@cached_njit(**INNER)
def _update(table, side, gradients, count, step, of_each):  # type: ignore[no-untyped-def]
    """Move the rows of a batch."""
    numbers, steps = table.rule.numbers, table.rule.steps
    weight, first, second = table.values.weight, table.values.first, table.values.second
    rows, counts, decays, row_steps = side.rows, side.counts, table.decays, table.row_steps
    if numbers[KIND] == FROZEN:
        return
    for place in range(count):
        row = rows[place]
        pull = decays[row] * counts[place] * of_each
        if len(row_steps) == 0:
            adam_step(
                weight[row], first[row], second[row], gradients[place], numbers, steps, step,
                of_each, pull,
            )  # fmt: skip
        else:
            _lazy_step(
                weight[row], first[row], second[row], row_steps[row], gradients[place], numbers,
                table.rates[step], of_each, pull,
            )  # fmt: skip


@cached_njit(**INNER)
def _lazy_step(weight, first, second, taken, gradient, numbers, rate, scale, penalty):  # type: ignore[no-untyped-def]
    """A step of a row by its own number of steps; a row without a gradient is not updated."""
    kind = weight.dtype.type
    up, pull = kind(scale), kind(penalty)
    found = 0
    for f in range(weight.shape[0]):
        gradient[f] = up * gradient[f] + pull * weight[f]
        found += gradient[f] != 0
    if found == 0:
        return
    taken[0] += 1
    left1, left2 = kind(1 - numbers[BETA1]), kind(1 - numbers[BETA2])
    beta2, eps = kind(numbers[BETA2]), kind(numbers[EPS])
    by_rate = kind(rate / (1 - numbers[BETA1] ** taken[0]))
    root = kind(1 / np.sqrt(1 - numbers[BETA2] ** taken[0]))
    for f in range(weight.shape[0]):
        g = gradient[f]
        m = first[f] + left1 * (g - first[f])
        v = beta2 * second[f] + left2 * g * g
        first[f] = m
        second[f] = v
        weight[f] -= by_rate * m / (np.sqrt(v) * root + eps)


@cached_njit(**INNER)
def _gradients(  # type: ignore[no-untyped-def]
    loss, users, items, drawn, weights, user_slot, item_slot, user_factors, item_factors, user_bias,
    item_bias, user_gradients, item_gradients, user_bias_gradients, item_bias_gradients,
):  # fmt: skip
    """Add the gradients of the losses of a batch; returns their sum."""
    real = user_factors.dtype.type
    total = 0.0
    for n in range(users.shape[0]):
        user, item = users[n], items[n]
        weight = real(1) if weights.shape[0] == 0 else real(weights[n])
        p, q = user_factors[user], item_factors[item]
        own = dot(p, q) + user_bias[user, 0] + item_bias[item, 0]
        place, chosen = user_slot[user], item_slot[item]
        of_own, of_level = real(0), real(0)
        if loss == BCE:
            value, share = softplus(-own, real(1))
            total += np.float64(weight * value)
            of_own = -weight * share
        for k in range(drawn.shape[1]):
            other = drawn[n, k]
            z = item_factors[other]
            score = dot(p, z) + user_bias[user, 0] + item_bias[other, 0]
            value, share = softplus(score if loss == BCE else score - own, real(1))
            total += np.float64(weight * value)
            slope = weight * share
            if loss == BPR:
                of_own -= slope
            of_level += slope
            left_out = item_slot[other]
            add(user_gradients[place], slope, z)
            add(item_gradients[left_out], slope, p)
            item_bias_gradients[left_out, 0] += slope
        add(user_gradients[place], of_own, q)
        add(item_gradients[chosen], of_own, p)
        item_bias_gradients[chosen, 0] += of_own
        if loss == BCE:
            # Of BPR it is zero: a level that all scores of a user share changes nothing.
            user_bias_gradients[place, 0] += of_level + of_own
    return total


@cached_njit(**INNER)
def softplus(x, one):  # type: ignore[no-untyped-def]
    """log(1 + exp(x)), and its slope; `one` is of the same type."""
    small = np.exp(-abs(x))
    return max(x, one - one) + np.log1p(small), (one if x >= 0 else small) / (one + small)

"""Many optimizer steps of a factor model with features and effects of time in one call.

As `kernel`, in a function of its own, so that runs from ids alone neither compile nor carry it.
Features and periods have rows that are trained like those of users and items: what they missed is
caught up when a batch uses them next.
"""

from typing import NamedTuple

import numpy as np

from lightning_collab.kernel_cache import INNER, KERNEL, cached_njit
from lightning_collab.training.fused.batch_rows import (
    TrainedRows,
    add,
    catch_up,
    dot,
    enter,
    gradient_squares,
    leave,
    penalise,
    update,
)
from lightning_collab.training.fused.mapped_rows import enter_features, map_gradients, map_rows
from lightning_collab.training.fused.update_rule import UpdateRule


class Trained(NamedTuple):
    """All rows that are trained, by place below; of one type, so that a loop goes over them.

    Attributes:
        rows: users, items, features of users, features of items, periods.
        rules: of the factors of each.
        bias_rule: of all biases.
    """

    rows: tuple[TrainedRows, TrainedRows, TrainedRows, TrainedRows, TrainedRows]
    rules: tuple[UpdateRule, UpdateRule, UpdateRule, UpdateRule, UpdateRule]
    bias_rule: UpdateRule


USERS, ITEMS, USER_FEATURES, ITEM_FEATURES, PERIODS = range(5)


@cached_njit(**KERNEL)
def train_block_with_features(  # type: ignore[no-untyped-def]
    trained, users_mapped, items_mapped, ratings, output, batch_size, lazy, clip, losses, penalties
):
    """Take the steps of a block of batches.

    Args:
        trained: `Trained`, changed in place. Row 0 of the periods is of those that training does
            not know and stays as it is.
        users_mapped: `Mapped`, changed in place; without entries where users have no features.
        items_mapped: `Mapped`, likewise.
        ratings: float [n].
        output: `Output`.
        batch_size: ratings of a batch; the last may be smaller.
        lazy: rows that a batch does not use stay as they are.
        clip: norm to which the gradient is clipped; 0: not.
        losses: float64 [steps], filled with the sum of squared errors of each batch.
        penalties: float64 [steps], filled with the penalty of each batch, divided by its size;
            float64 [0]: not asked for.

    Returns:
        Steps taken: fewer than there are where a loss is not a number; that step is not taken.
    """
    rows, rules, biases = trained.rows, trained.rules, trained.bias_rule
    users, items, periods = rows[USERS], rows[ITEMS], rows[PERIODS]
    user_features, item_features = rows[USER_FEATURES], rows[ITEM_FEATURES]
    effects = periods.ids.shape[0] // ratings.shape[0]
    counts = np.zeros(5, np.int64)
    steps = losses.shape[0]
    for step in range(steps):
        first = step * batch_size
        last = min(ratings.shape[0], first + batch_size)
        of_each = 1.0 / (last - first)
        counts[USERS] = enter(users, first, last)
        counts[ITEMS] = enter(items, first, last)
        counts[PERIODS] = enter(periods, first * effects, last * effects)
        counts[USER_FEATURES] = enter_features(user_features, users_mapped, users, counts[USERS])
        counts[ITEM_FEATURES] = enter_features(item_features, items_mapped, items, counts[ITEMS])
        if not lazy:
            for kind in range(5):
                each = rows[kind]
                catch_up(each, each.rows, counts[kind], rules[kind], biases, step)
        map_rows(user_features, users_mapped, users, counts[USERS])
        map_rows(item_features, items_mapped, items, counts[ITEMS])
        losses[step] = _gradients(
            users.ids[first:last],
            items.ids[first:last],
            periods.ids[first * effects : last * effects],
            ratings[first:last],
            users.slot,
            items.slot,
            periods.slot,
            users_mapped.factors,
            items_mapped.factors,
            users_mapped.bias,
            items_mapped.bias,
            periods.bias.weight,
            users.factor_gradients,
            items.factor_gradients,
            users.bias_gradients,
            items.bias_gradients,
            periods.bias_gradients,
            output,
        )
        if not np.isfinite(losses[step]):
            for kind in range(5):
                leave(rows[kind], counts[kind], step)
            return step
        map_gradients(user_features, users_mapped, users, counts[USER_FEATURES])
        map_gradients(item_features, items_mapped, items, counts[ITEM_FEATURES])
        scale = 1.0
        if clip > 0 or penalties.shape[0] > 0:
            penalty = 0.0
            for kind in range(5):
                penalty += penalise(rows[kind], counts[kind], rules[kind], biases, of_each)
            of_each = 0.0  # the penalty is in the gradient now
            if penalties.shape[0] > 0:
                penalties[step] = penalty
        if clip > 0:
            squares = 0.0
            for kind in range(5):
                squares += gradient_squares(rows[kind], counts[kind], rules[kind], biases)
            scale = min(1.0, clip / (np.sqrt(squares) + 1e-6))
        for kind in range(5):
            update(rows[kind], counts[kind], rules[kind], biases, step, scale, of_each)
            leave(rows[kind], counts[kind], step + 1)
    if not lazy:
        for kind in range(5):
            each = rows[kind]
            catch_up(each, each.all_rows, each.all_rows.shape[0], rules[kind], biases, steps)
    return steps


@cached_njit(**INNER)
def _gradients(  # type: ignore[no-untyped-def]
    users,
    items,
    periods,
    ratings,
    user_slot,
    item_slot,
    period_slot,
    user_factors,
    item_factors,
    user_bias,
    item_bias,
    period_effect,
    user_factor_gradients,
    item_factor_gradients,
    user_bias_gradients,
    item_bias_gradients,
    period_gradients,
    output,
):
    """Add the gradients of the mean squared error; returns the sum of squared errors."""
    kind = ratings.dtype.type
    one, low, span = kind(1), kind(output.low), kind(output.span)
    twice_mean = kind(2.0 / ratings.shape[0])
    effects = periods.shape[0] // ratings.shape[0]
    loss = 0.0
    for n in range(ratings.shape[0]):
        a, b = user_slot[users[n]], item_slot[items[n]]
        p, q = user_factors[a], item_factors[b]
        raw = user_bias[a, 0] + item_bias[b, 0] + dot(p, q)
        for each in range(n * effects, (n + 1) * effects):
            raw += period_effect[periods[each], 0]
        if output.sigmoid:
            share = one / (one + np.exp(-raw))
            error = low + share * span - ratings[n]
            slope = twice_mean * error * span * share * (one - share)
        else:
            error = low + raw - ratings[n]
            slope = twice_mean * error
        loss += np.float64(error) * np.float64(error)
        add(user_factor_gradients[a], slope, q)
        add(item_factor_gradients[b], slope, p)
        user_bias_gradients[a, 0] += slope
        item_bias_gradients[b, 0] += slope
        for each in range(n * effects, (n + 1) * effects):
            period_gradients[period_slot[periods[each]], 0] += slope
    if period_slot[0] >= 0:
        period_gradients[period_slot[0], 0] = 0
    return loss

"""Many optimizer steps of a factor model in one call.

Each step is the step of the whole batch at the weights before it, as autograd takes it.
"""

import numpy as np

from lightning_collab.kernel_cache import INNER, KERNEL, cached_njit
from lightning_collab.training.fused.batch_rows import (
    add,
    catch_up,
    dot,
    enter,
    gradient_squares,
    leave,
    penalise,
    update,
)


@cached_njit(**KERNEL)
def train_block(  # type: ignore[no-untyped-def]
    users, items, embeddings, biases, ratings, output, batch_size, lazy, clip, losses, penalties
):
    """Take the steps of a block of batches.

    Args:
        users: `TrainedRows`, changed in place.
        items: `TrainedRows`, changed in place.
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
        Steps taken: fewer than there are where a loss is not a number; that step is not taken.
    """
    steps = losses.shape[0]
    for step in range(steps):
        first = step * batch_size
        last = min(ratings.shape[0], first + batch_size)
        of_each = 1.0 / (last - first)
        user_rows = enter(users, first, last)
        item_rows = enter(items, first, last)
        if not lazy:
            catch_up(users, users.rows, user_rows, embeddings, biases, step)
            catch_up(items, items.rows, item_rows, embeddings, biases, step)
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
            leave(users, user_rows, step)
            leave(items, item_rows, step)
            return step
        scale = 1.0
        if clip > 0 or penalties.shape[0] > 0:
            penalty = penalise(users, user_rows, embeddings, biases, of_each)
            penalty += penalise(items, item_rows, embeddings, biases, of_each)
            of_each = 0.0  # the penalty is in the gradient now
            if penalties.shape[0] > 0:
                penalties[step] = penalty
        if clip > 0:
            squares = gradient_squares(users, user_rows, embeddings, biases)
            squares += gradient_squares(items, item_rows, embeddings, biases)
            scale = min(1.0, clip / (np.sqrt(squares) + 1e-6))
        update(users, user_rows, embeddings, biases, step, scale, of_each)
        update(items, item_rows, embeddings, biases, step, scale, of_each)
        leave(users, user_rows, step + 1)
        leave(items, item_rows, step + 1)
    if not lazy:
        catch_up(users, users.all_rows, users.all_rows.shape[0], embeddings, biases, steps)
        catch_up(items, items.all_rows, items.all_rows.shape[0], embeddings, biases, steps)
    return steps


@cached_njit(**INNER)
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
        raw = user_bias[user, 0] + item_bias[item, 0] + dot(p, q)
        if output.sigmoid:
            share = one / (one + np.exp(-raw))
            error = low + share * span - ratings[n]
            slope = twice_mean * error * span * share * (one - share)
        else:
            error = low + raw - ratings[n]
            slope = twice_mean * error
        loss += np.float64(error) * np.float64(error)
        a, b = user_slot[user], item_slot[item]
        add(user_factor_gradients[a], slope, q)
        add(item_factor_gradients[b], slope, p)
        user_bias_gradients[a, 0] += slope
        item_bias_gradients[b, 0] += slope
    return loss

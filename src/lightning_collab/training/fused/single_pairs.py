"""Plain SGD on one chosen pair and its drawn items at a time, which remembers nothing."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_collab.kernel_cache import INNER, KERNEL, cached_njit
from lightning_collab.training.fused.batch_rows import add, dot
from lightning_collab.training.fused.pairs_kernel import BCE, BPR, softplus


class SingleTable(NamedTuple):
    """A table that takes plain steps.

    Attributes:
        weight: float [rows, width], changed in place.
        rates: float64 [steps], learning rate; 0 where the table is frozen.
        decays: float64 [rows], weight decay of each row for each choice of it.
    """

    weight: NDArray[np.floating]
    rates: NDArray[np.float64]
    decays: NDArray[np.float64]


@cached_njit(**INNER)
def _train_triples(  # type: ignore[no-untyped-def]
    users, items, user_bias, item_bias, user_ids, item_ids, drawn, weights, sums
):
    """BPR with one drawn item: one pass over three rows for the score, and one for the step."""
    p_all, q_all, b_all, c_all = users.weight, items.weight, user_bias.weight, item_bias.weight
    real = p_all.dtype.type
    for n in range(drawn.shape[0]):
        user, item, other = user_ids[n], item_ids[n], drawn[n, 0]
        p, q, z = p_all[user], q_all[item], q_all[other]
        below = c_all[other, 0] - c_all[item, 0]
        for f in range(p.shape[0]):
            below += p[f] * (z[f] - q[f])
        weight = real(1) if weights.shape[0] == 0 else real(weights[n])
        value, share = softplus(below, real(1))
        sums[n] = np.float64(weight * value)
        if not np.isfinite(sums[n]):
            return n
        slope = weight * share
        user_rate, item_rate = real(users.rates[n]), real(items.rates[n])
        user_step, item_step = user_rate * slope, item_rate * slope
        user_kept = real(1) - user_rate * real(users.decays[user])
        item_kept = real(1) - item_rate * real(items.decays[item])
        for f in range(p.shape[0]):
            of_user, of_item, of_other = p[f], q[f], z[f]
            p[f] = user_kept * of_user + user_step * (of_item - of_other)
            q[f] = item_kept * of_item + item_step * of_user
            z[f] = of_other - item_step * of_user
        bias_rate = real(item_bias.rates[n])
        c_all[other, 0] -= bias_rate * slope
        c_all[item, 0] += bias_rate * (slope - real(item_bias.decays[item]) * c_all[item, 0])
        # The level of a user's scores, which the loss does not see.
        b_all[user, 0] *= real(1) - real(user_bias.rates[n]) * real(user_bias.decays[user])
    return drawn.shape[0]


@cached_njit(**KERNEL)
def train_single_pairs(  # type: ignore[no-untyped-def]
    loss, users, items, user_bias, item_bias, user_ids, item_ids, drawn, weights, sums
):
    """Take a step on each pair in turn, by the gradient at the weights before it.

    Args:
        loss: BCE or BPR.
        users: `SingleTable` of factors; so are the next three.
        items: see there.
        user_bias: see there.
        item_bias: see there.
        user_ids: int32 [pairs].
        item_ids: int32 [pairs], what these users chose.
        drawn: int32 [pairs, negatives].
        weights: float32 [pairs]; [0]: all 1.
        sums: float64 [pairs], filled with the losses.

    Returns:
        Steps taken: fewer than there are where a loss is not a number; that step is not taken.
    """
    if loss == BPR and drawn.shape[1] == 1:
        return _train_triples(
            users, items, user_bias, item_bias, user_ids, item_ids, drawn, weights, sums
        )
    p_all, q_all, b_all, c_all = users.weight, items.weight, user_bias.weight, item_bias.weight
    real = p_all.dtype.type
    negatives = drawn.shape[1]
    slopes = np.zeros(negatives, p_all.dtype)
    gradient = np.zeros(p_all.shape[1], p_all.dtype)
    for n in range(drawn.shape[0]):
        user, item = user_ids[n], item_ids[n]
        p, q = p_all[user], q_all[item]
        weight = real(1) if weights.shape[0] == 0 else real(weights[n])
        own = dot(p, q) + b_all[user, 0] + c_all[item, 0]
        total, of_own, of_level = 0.0, real(0), real(0)
        if loss == BCE:
            value, share = softplus(-own, real(1))
            total += np.float64(weight * value)
            of_own = -weight * share
            of_level = of_own
        for k in range(negatives):
            other = drawn[n, k]
            score = dot(p, q_all[other]) + b_all[user, 0] + c_all[other, 0]
            value, share = softplus(score if loss == BCE else score - own, real(1))
            total += np.float64(weight * value)
            slopes[k] = weight * share
            if loss == BPR:
                of_own -= slopes[k]
            else:
                of_level += slopes[k]
        sums[n] = total
        if not np.isfinite(total):
            return n
        pull = real(users.decays[user])
        for f in range(p.shape[0]):
            gradient[f] = of_own * q[f] + pull * p[f]
        for k in range(negatives):
            add(gradient, slopes[k], q_all[drawn[n, k]])
        rate, bias_rate = real(items.rates[n]), real(item_bias.rates[n])
        for k in range(negatives):
            other = drawn[n, k]
            add(q_all[other], -rate * slopes[k], p)
            c_all[other, 0] -= bias_rate * slopes[k]
        shrink, step = real(1) - rate * real(items.decays[item]), -rate * of_own
        for f in range(q.shape[0]):
            q[f] = shrink * q[f] + step * p[f]
        c_all[item, 0] -= bias_rate * (of_own + real(item_bias.decays[item]) * c_all[item, 0])
        add(p, -real(users.rates[n]), gradient)
        of_level += real(user_bias.decays[user]) * b_all[user, 0]
        b_all[user, 0] -= real(user_bias.rates[n]) * of_level
    return drawn.shape[0]

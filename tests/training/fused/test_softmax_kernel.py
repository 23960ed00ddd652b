"""Softmax's gradient over scores, against its formula in double precision."""

import numpy as np
import pytest

from lightning_collab.training.fused.softmax_kernel import softmax_gradients

USERS, ITEMS, CHOSEN = 6, 301, 4
NONE = np.zeros(0, np.float32)


def by_formula(scores, columns, weights):
    """The loss and its gradient: probabilities times the user's weights, less each choice."""
    shifted = scores.astype(np.float64) - scores.max(1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    gradient = probabilities * weights.sum(1, keepdims=True)
    loss = 0.0
    for user in range(len(scores)):
        np.subtract.at(gradient[user], columns[user] - 1, weights[user])
        loss -= weights[user] @ np.log(probabilities[user, columns[user] - 1])
    return loss, gradient


@pytest.mark.parametrize(("kind", "error"), [(np.float32, 2e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spread", [0.1, 5.0, 40.0])
def test_the_gradient_is_that_of_the_formula(kind, error, weighted, spread):
    rng = np.random.default_rng(1)
    scores = rng.normal(0, spread, (USERS, ITEMS)).astype(kind)
    columns = np.array([rng.choice(ITEMS - 1, CHOSEN, False) + 1 for _ in range(USERS)], np.int32)
    scores[2, ITEMS - 1] = -np.inf
    weights = rng.uniform(0.5, 2, (USERS, CHOSEN)) if weighted else np.ones((USERS, CHOSEN))
    weights = weights.astype(np.float32)
    with np.errstate(divide="ignore"):
        loss, expected = by_formula(scores, columns, weights.astype(np.float64))
    of_bias = np.full(ITEMS, 0.25, kind)
    found = softmax_gradients(
        scores,
        scores.max(1),
        np.arange(USERS + 1) * CHOSEN,
        columns.ravel(),
        weights.ravel() if weighted else NONE,
        of_bias,
    )
    assert found == pytest.approx(loss, rel=max(error, 1e-12))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=8 * error)
    np.testing.assert_allclose(of_bias, 0.25 + expected.sum(0), rtol=0, atol=40 * error)
    assert scores[2, ITEMS - 1] == 0


def test_a_score_that_is_no_number_shows_in_the_loss():
    scores = np.zeros((1, 9), np.float32)
    scores[0, 3] = np.nan
    ends, columns = np.array([0, 1]), np.array([2], np.int32)
    of_bias = np.zeros(9, np.float32)
    found = softmax_gradients(scores, np.zeros(1, np.float32), ends, columns, NONE, of_bias)
    assert np.isnan(found)

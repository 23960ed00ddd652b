"""Losses that compare items, each against its formula written out in plain Python."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.losses import BCE, BPR, Softmax

numbers = st.floats(-6, 6)
pairs = st.integers(1, 4).flatmap(
    lambda negatives: st.lists(
        st.tuples(numbers, st.lists(numbers, min_size=negatives, max_size=negatives), numbers),
        min_size=1,
        max_size=5,
    )
)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def tensors(rows):
    chosen, drawn, weights = zip(*rows, strict=True)
    as_doubles = (torch.tensor(each, dtype=torch.float64) for each in (chosen, drawn, weights))
    chosen, drawn, weights = as_doubles
    return chosen, drawn, weights.exp()


@given(pairs)
def test_bce(rows):
    chosen, drawn, weights = tensors(rows)
    terms = [
        -math.log(sigmoid(s)) - sum(math.log(1 - sigmoid(d)) for d in others)
        for s, others, _ in rows
    ]
    assert float(BCE()(chosen, drawn)) == pytest.approx(sum(terms), rel=1e-9)
    weighted = sum(math.exp(w) * term for (_, _, w), term in zip(rows, terms, strict=True))
    assert float(BCE()(chosen, drawn, weights)) == pytest.approx(weighted, rel=1e-9)


@given(pairs)
def test_bpr(rows):
    chosen, drawn, weights = tensors(rows)
    terms = [-sum(math.log(sigmoid(s - d)) for d in others) for s, others, _ in rows]
    assert float(BPR()(chosen, drawn)) == pytest.approx(sum(terms), rel=1e-9)
    weighted = sum(math.exp(w) * term for (_, _, w), term in zip(rows, terms, strict=True))
    assert float(BPR()(chosen, drawn, weights)) == pytest.approx(weighted, rel=1e-9)


SCORES = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.0, -math.inf]], dtype=torch.float64)
USERS, ITEMS = torch.tensor([0, 0, 1]), torch.tensor([2, 0, 1])


def test_softmax_by_hand():
    whole = [sum(map(math.exp, (0.5, -1.0, 2.0))), math.exp(1.5) + 1]
    terms = [math.log(whole[0]) - 2.0, math.log(whole[0]) - 0.5, math.log(whole[1])]
    assert float(Softmax()(SCORES, USERS, ITEMS)) == pytest.approx(sum(terms))
    weights = torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64)
    weighted = 2 * terms[0] + 0.5 * terms[1] + 3 * terms[2]
    assert float(Softmax()(SCORES, USERS, ITEMS, weights)) == pytest.approx(weighted)


def test_sampled_softmax_by_hand():
    chosen = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)
    found = Softmax().sampled(chosen, USERS, SCORES)
    expected = 0.0
    for score, user in zip(chosen.tolist(), USERS.tolist(), strict=True):
        others = sum(math.exp(each) for each in SCORES[user].tolist())
        expected += math.log(math.exp(score) + others) - score
    assert float(found) == pytest.approx(expected)


def test_the_gradient_of_sampled_softmax_is_that_of_the_whole_in_the_mean():
    """With many draws, corrected for how often each comes, the sample stands for the catalogue."""
    random = torch.Generator().manual_seed(0)
    items = 6
    scores = torch.tensor([[0.3, -0.4, 1.0, 0.2, -1.0, 0.6]], dtype=torch.float64)
    chances = torch.tensor([0.05, 0.3, 0.1, 0.25, 0.2, 0.1], dtype=torch.float64)
    whole = scores.clone().requires_grad_()
    user, item = torch.tensor([0]), torch.tensor([2])
    Softmax()(whole, user, item).backward()
    drawn = torch.multinomial(chances, 200_000, replacement=True, generator=random)
    sampled = scores.clone().requires_grad_()
    corrected = sampled[:, drawn] - torch.log(len(drawn) * chances[drawn])
    corrected = corrected.masked_fill(drawn == 2, -torch.inf)
    Softmax().sampled(sampled[0, item], user, corrected).backward()
    torch.testing.assert_close(sampled.grad, whole.grad, atol=0.01, rtol=0)
    assert sampled.shape == (1, items)

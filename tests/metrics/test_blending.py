"""Blends of several scorers: standardised by hand, and weighted by the validation part alone."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.metrics import blending
from lightning_collab.metrics.blending import Blend, blend_weights, standardised
from lightning_collab.metrics.rankings import rank_part

USERS, ITEMS = 30, 25


class Table:
    """Fixed scores, one row a user row."""

    def __init__(self, scores):
        self.scores = torch.as_tensor(scores, dtype=torch.float32)
        self.items = self.scores.shape[1]

    def of_users(self, users, out=None):
        return self.scores[users.long()].clone()


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(3)
    pairs = np.argwhere(random.random((USERS, ITEMS)) < 0.5)
    frame = pl.DataFrame({"user": pairs[:, 0], "item": pairs[:, 1], "rating": 5.0})
    split = {"name": "random", "test": 0.2, "val": 0.3, "seed": 1}
    return RatingDataModule.from_frame(frame, split=split, rating_range=(1, 5))


def held_out(data, part):
    """1 for the held-out pairs of a part, by rows of user and columns of item."""
    found = np.zeros((len(data.user_vocabulary), len(data.item_vocabulary) - 1))
    columns = data.columns(getattr(data.rows, part))
    known = (columns.users > 0) & (columns.items > 0)
    found[columns.users[known], columns.items[known] - 1] = 1
    return found


def test_a_blend_adds_scores_of_mean_0_and_deviation_1():
    one, other = Table([[1.0, 2.0, 3.0]]), Table([[40.0, 0.0, 20.0]])
    users = torch.zeros(1, dtype=torch.int32)
    step = np.sqrt(1.5)
    found = Blend([one, other], [1.0, 0.5]).of_users(users, torch.full((1, 3), 7.0))
    expected = [-step + 0.5 * step, -0.5 * step, step]
    assert found[0].tolist() == pytest.approx(expected)
    # Nothing is asked of what has no weight.
    assert Blend([one, None], [2.0, 0.0]).of_users(users)[0].tolist() == pytest.approx(
        [-2 * step, 0, 2 * step]
    )


def test_scores_that_are_all_alike_say_nothing():
    assert standardised(torch.full((2, 5), 3.0)).tolist() == [[0.0] * 5] * 2


@settings(deadline=None, max_examples=30)
@given(st.floats(0.1, 50), st.floats(-100, 100))
def test_scale_and_shift_of_a_scorer_do_not_matter(scale, shift):
    scores = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        standardised(scores * scale + shift), standardised(scores), atol=1e-3, rtol=1e-3
    )


def test_weights_are_chosen_by_the_validation_part_alone(data):
    """A scorer that knows the test part, and one that knows half of the validation part."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(2, len(data.user_vocabulary), len(data.item_vocabulary) - 1))
    knows_test = Table(held_out(data, "test") + 0.01 * noise[0])
    knows_val = Table(held_out(data, "val") + 0.6 * noise[1])
    found = blend_weights([knows_test, knows_val], data, liked="all", k=10)
    assert found.weights == [0.0, 1.0]
    alone = rank_part(knows_val, data, "val", liked="all", top_k=[10])
    assert found.value == pytest.approx(alone["val/ndcg@10"])


def test_no_more_scores_are_kept_than_there_is_room_for(data, monkeypatch):
    """Two scorers of all items: room for three users and a half is room for three."""
    asked = []

    class Watched(Table):
        def of_users(self, users, out=None):
            asked.append(len(users))
            return super().of_users(users, out)

    scores = held_out(data, "val")
    items = scores.shape[1]
    monkeypatch.setattr(blending, "SCORES_KEPT", 7 * items)
    blend_weights([Watched(scores), Watched(scores)], data, liked="all", k=10)
    assert asked == [3, 3]


def test_a_blend_of_scorers_that_know_different_halves_beats_both(data):
    random = np.random.default_rng(0)
    liked = held_out(data, "val")
    half = random.random(liked.shape) < 0.5
    noise = random.normal(size=(2, *liked.shape))
    parts = [Table(liked * half + 0.3 * noise[0]), Table(100 * (liked * ~half + 0.3 * noise[1]))]
    found = blend_weights(parts, data, liked="all", k=10)
    alone = [rank_part(each, data, "val", liked="all", top_k=[10]) for each in parts]
    assert found.value > 0.02 + max(each["val/ndcg@10"] for each in alone)
    assert min(found.weights) > 0
    assert max(found.weights) == 1
    again = rank_part(Blend(parts, found.weights), data, "val", liked="all", top_k=[10])
    assert again["val/ndcg@10"] == pytest.approx(found.value)

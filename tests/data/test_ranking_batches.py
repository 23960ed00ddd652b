"""Blocks of users to be ranked: each once, with what they have seen and liked."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.data import ranking_batches
from lightning_collab.data.ranking_batches import Choices, RankingBatches

USERS, ITEMS = 9, 6


def choices(random, share):
    users, items = np.nonzero(random.random((USERS, ITEMS)) < share)
    pairs = users.astype(np.int32), items.astype(np.int32)
    return Choices.of(*pairs, user_rows=USERS, item_rows=ITEMS)


def as_lists(batches):
    """User -> the seen columns and the liked rows, and in which order the users come."""
    found, order = {}, []
    for batch in batches:
        for place, user in enumerate(batch.users.tolist()):
            seen = batch.seen[batch.seen_starts[place] : batch.seen_starts[place + 1]]
            liked = batch.liked[batch.liked_starts[place] : batch.liked_starts[place + 1]]
            found[user] = sorted(seen.tolist()), liked.tolist()
            order.append(user)
        assert len(batch.seen_starts) == len(batch.liked_starts) == len(batch.users) + 1
        assert batch.seen_starts[-1] == len(batch.seen)
        assert batch.liked_starts[-1] == len(batch.liked)
    return found, order


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 30), st.integers(1, 3))
def test_every_user_who_liked_anything_once_over_all_ranks(seed, ranks, memory, parts):
    random = np.random.default_rng(seed)
    seen = [choices(random, 0.3) for _ in range(parts)]
    liked = choices(random, 0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking_batches, "SCORES_AT_A_TIME", memory)
        of_ranks = [RankingBatches(seen, liked, rank=r, world_size=ranks) for r in range(ranks)]
    blocks = [list(each) for each in of_ranks]
    assert len({len(each) for each in blocks}) == 1
    assert [len(each) for each in of_ranks] == [len(each) for each in blocks]
    most = max(1, memory // (ITEMS - 1))
    assert all(len(batch.users) <= most for each in blocks for batch in each)
    found, order = as_lists([batch for each in blocks for batch in each])
    expected = {
        user: (
            sorted(i - 1 for each in seen for i in each.of_user(user).tolist() if i),
            liked.of_user(user).tolist(),
        )
        for user in range(1, USERS)
        if len(liked.of_user(user))
    }
    assert found == expected
    assert order == sorted(order)


def test_types_and_device():
    batches = RankingBatches(
        choices(np.random.default_rng(0), 0.4),
        choices(np.random.default_rng(1), 0.4),
        device="meta",
    )
    (batch,) = batches
    kinds = [each.dtype for each in batch]
    assert kinds == [torch.int32, torch.int64, torch.int32, torch.int64, torch.int32]
    assert {each.device.type for each in batch} == {"meta"}


def test_a_sample_of_users_is_that_of_its_seed_on_any_number_of_ranks():
    random = np.random.default_rng(3)
    seen, liked = choices(random, 0.4), choices(random, 0.9)

    def sample(seed, ranks=1):
        shares = [
            RankingBatches(seen, liked, most_users=3, seed=seed, rank=rank, world_size=ranks)
            for rank in range(ranks)
        ]
        return as_lists([batch for each in shares for batch in each])

    assert sample(1) == sample(1) == sample(1, ranks=2)
    assert {len(sample(seed)[1]) for seed in range(9)} == {3}
    assert {user for seed in range(40) for user in sample(seed)[1]} == set(range(1, USERS))
    everybody = as_lists(RankingBatches(seen, liked, most_users=99))
    assert everybody == as_lists(RankingBatches(seen, liked))


def test_they_can_be_gone_through_again():
    batches = RankingBatches(
        choices(np.random.default_rng(0), 0.4), choices(np.random.default_rng(1), 0.4)
    )
    assert as_lists(batches) == as_lists(batches)

"""Pairs with drawn items, and users with all they chose: each once an epoch, on any ranks."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lightning_collab.data.choice_batches import PairBatches, UserBatches
from lightning_collab.data.draws import popularity
from lightning_collab.data.ranking_batches import Choices

USERS, ITEMS = 12, 15


@pytest.fixture
def chosen():
    random = np.random.default_rng(4)
    pairs = random.permutation((USERS - 1) * (ITEMS - 1))[:60]
    users, items = np.divmod(pairs, ITEMS - 1)
    users = np.where(users == 4, 5, users)  # nobody is user 5
    kept = np.unique(users * ITEMS + items)
    users, items = np.divmod(kept, ITEMS)
    return Choices.of(
        (users + 1).astype(np.int32),
        (items + 1).astype(np.int32),
        user_rows=USERS,
        item_rows=ITEMS,
        weights=np.arange(len(kept), dtype=np.float32),
    )


def pairs_of(batches):
    return [
        (int(user), int(item), float(weight), tuple(drawn.tolist()))
        for batch in batches
        for user, item, weight, drawn in zip(
            batch.users, batch.items, batch.weights, batch.drawn, strict=True
        )
    ]


def expected(chosen):
    columns = chosen.users.tolist(), chosen.items.tolist(), chosen.weights.tolist()
    return sorted(zip(*columns, strict=True))


def pair_batches(chosen, **options):
    settings = {"batch_size": 7, "shuffle": True, "seed": 3, "negatives": 2, **options}
    return PairBatches(chosen, chosen, **settings)


def test_each_pair_comes_once_with_items_that_its_user_did_not_choose(chosen):
    found = pairs_of(pair_batches(chosen))
    assert sorted(each[:3] for each in found) == expected(chosen)
    for user, _, _, drawn in found:
        assert not set(drawn) & set(chosen.of_user(user).tolist())
        assert all(1 <= item < ITEMS for item in drawn)


def test_the_order_and_the_draws_are_those_of_the_epoch(chosen):
    first, again, other = (pair_batches(chosen) for _ in range(3))
    again.set_epoch(0)
    other.set_epoch(1)
    assert pairs_of(first) == pairs_of(again)
    assert pairs_of(first) != pairs_of(other)
    assert sorted(each[:3] for each in pairs_of(other)) == expected(chosen)


def test_ranks_blocks_and_a_resumed_epoch_have_the_pairs_of_one_process(chosen):
    whole = pairs_of(pair_batches(chosen))
    ranks = [list(pair_batches(chosen, rank=rank, world_size=2)) for rank in (0, 1)]
    shared = [pairs_of([batch]) for both in zip(*ranks, strict=True) for batch in both]
    assert [pair for share in shared for pair in share] == whole
    batches = pair_batches(chosen).batches
    assert pairs_of(pair_batches(chosen, block_ends=(2, batches))) == whole
    stopped = pair_batches(chosen)
    gone = iter(stopped)
    done = pairs_of([next(gone), next(gone)])
    assert done + pairs_of(pair_batches(chosen, position=stopped.state_dict())) == whole


def test_by_user_the_pairs_of_a_user_come_together_in_an_order_of_their_own(chosen):
    found = pairs_of(pair_batches(chosen, by_user=True))
    users = [each[0] for each in found]
    changes = sum(one != other for one, other in pairwise(users))
    assert changes == len(set(users)) - 1
    assert sorted(each[:3] for each in found) == expected(chosen)
    assert users != sorted(users)
    own = [each[1] for each in found if each[0] == users[0]]
    orders = set()
    for epoch in range(4):
        batches = pair_batches(chosen, by_user=True)
        batches.set_epoch(epoch)
        orders.add(tuple(each[1] for each in pairs_of(batches) if each[0] == users[0]))
    assert len(orders) > 1
    assert all(sorted(order) == sorted(own) for order in orders)


def user_batches(chosen, **options):
    settings = {"batch_size": 4, "shuffle": True, "seed": 3, **options}
    return UserBatches(chosen, **settings)


def test_each_user_comes_once_with_all_that_the_user_chose(chosen):
    seen = []
    for batch in user_batches(chosen):
        assert batch.whole_terms == batch.terms == len(batch.items)
        for place, user in enumerate(batch.users.tolist()):
            mine = batch.rows == place
            own = slice(chosen.starts[user], chosen.starts[user + 1])
            assert batch.items[mine].tolist() == chosen.items[own].tolist()
            assert batch.weights[mine].tolist() == chosen.weights[own].tolist()
            seen.append(user)
    assert sorted(seen) == np.flatnonzero(chosen.user_counts).tolist()


def test_ranks_share_the_users_and_know_the_whole_batch(chosen):
    whole = list(user_batches(chosen))
    ranks = [list(user_batches(chosen, rank=rank, world_size=3)) for rank in range(3)]
    for batch, shares in zip(whole, zip(*ranks, strict=True), strict=True):
        assert torch.equal(batch.users, torch.cat([share.users for share in shares]))
        assert torch.equal(batch.items, torch.cat([share.items for share in shares]))
        for share in shares:
            assert share.whole_terms == batch.terms
            assert share.whole_size == len(batch.users)
        assert shares[1].start == len(shares[0].users)


def test_pairs_that_are_no_negatives_come_with_their_users(chosen):
    barred = Choices.of(
        np.array([3, 7], np.int32), np.array([2, 9], np.int32), user_rows=USERS, item_rows=ITEMS
    )
    found = set()
    for batch in user_batches(chosen, barred=barred):
        users = batch.users[batch.barred_rows].tolist()
        found |= set(zip(users, batch.barred_items.tolist(), strict=True))
    assert found == {(3, 2), (7, 9)}


def test_items_that_stand_for_the_catalogue_are_drawn_by_popularity(chosen):
    by = popularity(chosen.item_counts, 0.5)
    batches = user_batches(chosen, samples=5000, by=by)
    batch, other = list(batches)[:2]
    chances = chosen.item_counts[1:] ** 0.5 / (chosen.item_counts[1:] ** 0.5).sum()
    counts = np.bincount(batch.drawn, minlength=ITEMS)[1:] / 5000
    np.testing.assert_allclose(counts, chances, atol=0.02)
    expected = np.log(5000 * chances[batch.drawn.numpy() - 1])
    np.testing.assert_allclose(batch.log_expected, expected, rtol=1e-5)
    assert not torch.equal(batch.drawn, other.drawn)
    assert torch.equal(batch.drawn, next(iter(user_batches(chosen, samples=5000, by=by))).drawn)

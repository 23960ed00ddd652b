import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import composed

from lightning_collab.config import validated
from lightning_collab.data.batches import RatingBatches
from lightning_collab.data.orders import Groups
from lightning_collab.errors import ConfigError

KEYS = st.integers(0, 2**62 - 1)


def made_up(count, seed=0, users=30, items=20):
    random = np.random.default_rng(seed)
    return (
        (random.random(count) ** 2 * users).astype(np.int32) + 1,
        (random.random(count) ** 3 * items).astype(np.int32) + 1,
    )


def batches_of(users, items, groups, **options):
    options = {"batch_size": 1, "shuffle": True, "seed": 3, **options}
    rows = torch.arange(len(users), dtype=torch.float32)
    columns = (torch.from_numpy(users), torch.from_numpy(items), rows)
    return RatingBatches(*columns, groups=groups, **options)


@given(st.integers(1, 300), KEYS, st.booleans())
def test_an_order_is_a_permutation_drawn_from_its_key_alone(count, key, by_user):
    users, items = made_up(count)
    make = [lambda: Groups.by_user(users), lambda: Groups.blocks(users, items)][not by_user]
    order = make().order(key)
    assert sorted(order) == sorted(make().rows) == list(range(count))
    np.testing.assert_array_equal(order, make().order(key))


def test_another_epoch_has_another_order():
    users, items = made_up(500)
    for groups in (Groups.by_user(users), Groups.blocks(users, items)):
        assert (groups.order(1) != groups.order(2)).mean() > 0.9


def test_places_in_a_group_come_alike():
    """Each of four rows is at each of four places in a quarter of the epochs, as are groups."""
    groups = Groups(np.arange(8, dtype=np.int32), np.array([0, 4, 8]))
    orders = np.array([groups.order(key * 7919) for key in range(4000)])
    first_half = np.where(orders[:, :1] < 4, orders[:, :4], orders[:, 4:])
    assert (orders[:, 0] < 4).mean() == pytest.approx(0.5, abs=0.03)
    for place in range(4):
        found = np.bincount(first_half[:, place], minlength=4) / 4000
        np.testing.assert_allclose(found, 0.25, atol=0.03)


@given(st.integers(1, 200), KEYS)
def test_by_user_each_ones_ratings_come_together(count, key):
    users, _ = made_up(count)
    groups = Groups.by_user(users)
    met = users[groups.rows[groups.order(key)]]
    assert (np.diff(met) != 0).sum() + 1 == len(set(met))


@pytest.mark.parametrize(("count", "parts"), [(60, 2), (80_000, 4), (400_000, 8)])
def test_blocks_of_a_round_share_no_row(count, parts):
    users, items = made_up(count, users=900, items=700)
    groups = Groups.blocks(users, items)
    assert groups.parts == parts
    order, ends = groups.rows[groups.order(5)], groups.rounds(5)
    assert ends.shape == (parts, parts)
    assert ends[-1, -1] == count
    begins = np.concatenate([[0], ends[:-1, -1]])
    blocks_met = set()
    for begin, of_round in zip(begins, ends, strict=True):
        blocks = [order[a:b] for a, b in zip([begin, *of_round[:-1]], of_round, strict=True)]
        for ids in (users, items):
            rows = [set(ids[each].tolist()) for each in blocks]
            assert len(set().union(*rows)) == sum(map(len, rows))
        blocks_met |= {tuple(sorted(each)) for each in blocks if len(each)}
    assert sum(map(len, blocks_met)) == count


def test_large_tables_are_cut_into_parts_that_the_cache_holds():
    users, items = made_up(6_000_000, users=20_000, items=10_000)
    groups = Groups.blocks(users, items)
    assert groups.parts == 30
    block = groups.rows[groups.starts[17] : groups.starts[18]]
    assert len(set(users[block])) + len(set(items[block])) < 2500


@pytest.mark.parametrize("kind", ["by_user", "blocks"])
def test_the_columns_of_a_row_stay_together_on_every_rank_and_after_a_stop(kind):
    users, items = made_up(90)
    groups = Groups.by_user(users) if kind == "by_user" else Groups.blocks(users, items)

    def met(batches):
        found = list(batches)
        for batch in found:
            rows = batch.ratings.long().numpy()
            np.testing.assert_array_equal(batch.users.numpy(), users[rows])
            np.testing.assert_array_equal(batch.items.numpy(), items[rows])
        return [int(row) for batch in found for row in batch.ratings]

    whole = met(batches_of(users, items, groups))
    assert sorted(whole) == list(range(90))
    shares = [
        list(batches_of(users, items, groups, batch_size=7, rank=rank, world_size=2))
        for rank in range(2)
    ]
    together = [row for pair in zip(*shares, strict=True) for each in pair for row in each.ratings]
    assert together == whole
    stopped = batches_of(users, items, groups)
    stream = iter(stopped)
    begun = [int(next(stream).ratings) for _ in range(40)]
    position = stopped.state_dict()
    assert begun + met(batches_of(users, items, groups, position=position)) == whole


def test_batches_in_one_say_where_blocks_end():
    users, items = made_up(90_000)
    groups = Groups.blocks(users, items)
    batches = batches_of(users, items, groups, block_ends=[20_000, 70_000, 90_000])
    ends = []
    for first, batch in zip((0, 20_000, 70_000), batches, strict=True):
        rounds = batch.rounds.numpy()
        assert rounds[0, 0] == 0
        assert rounds[-1, -1] == len(batch.ratings)
        np.testing.assert_array_equal(rounds[1:, 0], rounds[:-1, -1])
        ends += (rounds[:, 1:] + first).ravel().tolist()
        for of_round in rounds:
            parts = np.split(batch.users.numpy()[: of_round[-1]], of_round[:-1])[1:]
            assert sum(len(set(part)) for part in parts) == len(set(np.concatenate(parts)))
    key_ends = set(groups.rounds(_key(batches)).ravel().tolist())
    assert key_ends <= set(ends)
    assert next(iter(batches_of(users, items, groups))).rounds is None


def _key(batches):
    from lightning_collab.data.batches import _mixed

    return _mixed(batches.seed, batches.epoch)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.order=blocked", "loss=bpr"), r"data\.order=blocked .*blocks of ratings.*=random"),
        (("data.order=sorted",), r"data\.order"),
    ],
)
def test_an_order_that_cannot_be_had_is_refused_by_name(overrides, message):
    with pytest.raises(ConfigError, match=message):
        validated(composed(*overrides))

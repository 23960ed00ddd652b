import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.data.batches import RatingBatches

sizes = st.integers(1, 60)


def batches_of(n, **options):
    options = {"batch_size": 7, "shuffle": True, "seed": 3, **options}
    rows = torch.arange(n, dtype=torch.int32)
    return RatingBatches(rows, rows + 1, rows.float(), **options)


def rows_of(batches):
    return [row for batch in batches for row in batch.users.tolist()]


@given(sizes, st.integers(1, 70) | st.just("full"), st.booleans(), st.integers(1, 5))
def test_the_ranks_together_see_every_row_once(n, batch_size, shuffle, world_size):
    ranks = [
        list(
            batches_of(n, batch_size=batch_size, shuffle=shuffle, rank=rank, world_size=world_size)
        )
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    seen = [row for batches in ranks for batch in batches for row in batch.users.tolist()]
    assert sorted(seen) == list(range(n))
    for shares in zip(*ranks, strict=True):
        assert sum(len(share.users) for share in shares) == shares[0].whole_size
        assert [share.start for share in shares] == [
            sum(len(share.users) for share in shares[:rank]) for rank in range(world_size)
        ]
        assert len({share.draw_seed for share in shares}) == 1


@given(sizes, st.integers(2, 5))
def test_the_ranks_share_the_batches_of_one_process(n, world_size):
    whole = [batch.users.tolist() for batch in batches_of(n)]
    ranks = [list(batches_of(n, rank=rank, world_size=world_size)) for rank in range(world_size)]
    joined = [
        [row for share in shares for row in share.users.tolist()]
        for shares in zip(*ranks, strict=True)
    ]
    assert joined == whole


def test_the_columns_of_a_row_stay_together():
    for batch in batches_of(50):
        assert torch.equal(batch.items, batch.users + 1)
        assert torch.equal(batch.ratings, batch.users.float())


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else():
    batches = batches_of(50)
    first = rows_of(batches)
    batches.set_epoch(1)
    second = rows_of(batches)
    batches.set_epoch(0)
    assert rows_of(batches) == first != second
    assert rows_of(batches_of(50, seed=4)) != first
    assert rows_of(batches_of(50, batch_size=11)) == first
    assert rows_of(batches_of(50, shuffle=False)) == list(range(50))


def test_full_is_one_batch_of_everything():
    batches = batches_of(50, batch_size="full")
    assert len(batches) == 1
    assert len(next(iter(batches)).users) == 50


@given(sizes, st.integers(1, 60))
def test_a_resumed_epoch_goes_on_with_the_next_batch(n, stop):
    batches = batches_of(n)
    batches.set_epoch(5)
    everything = rows_of(batches)
    stop = min(stop, len(batches))
    iterator = iter(batches)
    before = [row for _ in range(stop) for row in next(iterator).users.tolist()]

    resumed = batches_of(n)
    resumed.load_state_dict(batches.state_dict())
    iter(resumed)  # as Lightning does before it sets the epoch
    after = iter(resumed)
    resumed.set_epoch(5)
    assert before + rows_of(after) == everything
    assert rows_of(resumed) == everything  # and the next time it starts afresh


def test_a_resumed_loader_that_is_sent_to_another_epoch_starts_there():
    batches = batches_of(20)
    next(iter(batches))
    resumed = batches_of(20)
    resumed.load_state_dict(batches.state_dict())
    resumed.set_epoch(1)
    batches.set_epoch(1)
    assert rows_of(resumed) == rows_of(batches)


def test_every_batch_has_a_draw_seed_of_its_own():
    batches = batches_of(50)
    seeds = [batch.draw_seed for batch in batches]
    batches.set_epoch(1)
    seeds += [batch.draw_seed for batch in batches]
    assert len(set(seeds)) == len(seeds) == 16

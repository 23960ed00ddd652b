"""Batches of ratings on disk: every row once, the same on resume and on ranks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.data import mapped_table
from lightning_collab.data.batches import RatingBatches
from lightning_collab.data.mapped_table import MappedBatches


@pytest.fixture(scope="module", autouse=True)
def small():
    """So that few rows are cut into several streams, windows and blocks."""
    patched = pytest.MonkeyPatch()
    patched.setattr(mapped_table, "BLOCK", 5)
    patched.setattr(mapped_table, "BLOCKS_IN_WINDOW", 3)
    patched.setattr(mapped_table, "STREAMED_BATCH", 16)
    yield
    patched.undo()


def columns(rows):
    numbers = torch.arange(rows, dtype=torch.int32)
    return numbers, numbers * 2, numbers.float() / 2


def batches(rows, window, batch_size, **options):
    return MappedBatches(
        columns(rows),
        window=window,
        batch_size=batch_size,
        **{"shuffle": True, "seed": 5, **options},
    )


def order_of(loader, epoch=0):
    loader.set_epoch(epoch)
    return [batch.users.tolist() for batch in loader]


def joined(parts):
    return [row for part in parts for row in part]


SIZES = {
    "rows": st.integers(1, 300),
    "window": st.integers(1, 320),
    "batch_size": st.integers(1, 90),
}


@given(**SIZES, epoch=st.integers(0, 5))
def test_an_epoch_has_every_row_once(rows, window, batch_size, epoch):
    loader = batches(rows, window, batch_size)
    found = order_of(loader, epoch)
    assert sorted(joined(found)) == list(range(rows))
    assert [len(each) for each in found[:-1]] == [batch_size] * (len(found) - 1)
    assert order_of(batches(rows, window, batch_size), epoch) == found
    loader.set_epoch(epoch)
    for batch in loader:
        assert torch.equal(batch.items, batch.users * 2)
        assert torch.equal(batch.ratings, batch.users.float() / 2)


@given(**SIZES, ranks=st.integers(1, 5))
def test_ranks_share_out_the_batches_of_one(rows, window, batch_size, ranks):
    whole = order_of(batches(rows, window, batch_size), 2)
    shares = [
        order_of(batches(rows, window, batch_size, rank=rank, world_size=ranks), 2)
        for rank in range(ranks)
    ]
    assert [joined(parts) for parts in zip(*shares, strict=True)] == whole


@given(**SIZES, done=st.integers(0, 20))
def test_an_epoch_goes_on_where_it_stopped(rows, window, batch_size, done):
    loader = batches(rows, window, batch_size)
    loader.set_epoch(3)
    going = iter(loader)
    done = min(done, loader.batches - 1)
    for _ in range(done):
        next(going)
    resumed = batches(rows, window, batch_size, position=loader.state_dict())
    expected = [batch.users.tolist() for batch in going]
    assert [batch.users.tolist() for batch in resumed] == expected
    assert len(expected) == loader.batches - done


@given(**SIZES, cut=st.integers(1, 7))
def test_blocks_of_batches_have_the_rows_of_the_batches(rows, window, batch_size, cut):
    loader = batches(rows, window, batch_size)
    ends = [*range(cut, loader.batches, cut), loader.batches]
    blocks = order_of(batches(rows, window, batch_size, block_ends=ends), 1)
    assert joined(blocks) == joined(order_of(loader, 1))


@given(**SIZES)
def test_a_window_of_all_rows_gives_the_order_of_memory(rows, window, batch_size):
    in_memory = RatingBatches(*columns(rows), batch_size=batch_size, shuffle=True, seed=5)
    assert order_of(batches(rows, rows + window, batch_size), 4) == order_of(in_memory, 4)


def test_rows_that_are_not_shuffled_come_as_they_are():
    assert order_of(batches(50, 10, 20, shuffle=False)) == [
        list(range(20)),
        list(range(20, 40)),
        list(range(40, 50)),
    ]


def test_epochs_differ_and_neighbors_are_parted():
    loader = batches(3000, 600, 10)
    one, two = (np.array(joined(order_of(loader, epoch))) for epoch in (0, 1))
    assert (one != two).mean() > 0.9
    # A pair of neighbors on disk stands side by side as often as in a random order of a window.
    assert (np.abs(np.diff(one)) == 1).mean() < 0.03
    # And the rows of a window come from all over the file.
    for start in range(0, 3000, 600):
        spread = np.histogram(one[start : start + 600], bins=5, range=(0, 3000))[0]
        assert spread.min() > 40


class Watched:
    """A column that remembers which rows were read."""

    def __init__(self, column):
        self.column = column
        self.read = np.zeros(len(column), bool)

    def __len__(self):
        return len(self.column)

    def __getitem__(self, rows):
        self.read[rows] = True
        return self.column[rows]


def test_a_rank_reads_its_share_alone():
    read = []
    for rank in range(2):
        watched = tuple(map(Watched, columns(4000)))
        options = {"shuffle": True, "seed": 5, "rank": rank, "world_size": 2}
        loader = MappedBatches(watched, window=800, batch_size=64, **options)
        assert sum(len(batch.ratings) for batch in loader) == pytest.approx(2000, abs=32)
        read.append(watched[0].read)
    assert not (read[0] & read[1]).any()
    assert (read[0] | read[1]).all()

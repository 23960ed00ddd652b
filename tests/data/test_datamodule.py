import dataclasses
from types import SimpleNamespace

import numpy as np
import polars as pl
import torch

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.rating_table import RatingTable


def module_of(table, config):
    return RatingDataModule(
        table, batch_size=config.data.batch_size, split=config.split, seed=config.seed
    )


def test_the_parts_hold_the_ratings_of_the_split(small_table, run_config):
    data = module_of(small_table, run_config("data.batch_size=100"))
    assert [len(data.rows.train), len(data.rows.val), len(data.rows.test)] == [480, 60, 60]
    for loader, rows in (
        (data.val_dataloader(), data.rows.val),
        (data.test_dataloader(), data.rows.test),
    ):
        (batch,) = list(loader)
        assert np.array_equal(batch.ratings.numpy(), small_table.ratings[rows])
    assert len(data.train_dataloader()) == data.steps_per_epoch(None) == 5
    assert data.steps_per_epoch(3) == 3


def test_absent_parts_have_no_loader(small_table, run_config):
    data = module_of(small_table, run_config("split.val=0", "split.test=0"))
    assert data.val_dataloader() == []
    assert data.test_dataloader() == []
    assert len(data.rows.train) == 600


def test_ids_without_training_ratings_get_the_unknown_row(small_table, run_config):
    config = run_config()
    rows = module_of(small_table, config).rows
    # A user and an item of their own for the first test row.
    users, items = small_table.users.copy(), small_table.items.copy()
    stranger = rows.test[0]
    users[users == 30], items[items == 20] = 1, 1
    users[stranger], items[stranger] = 30, 20
    data = module_of(dataclasses.replace(small_table, users=users, items=items), config)
    assert len(data.user_vocabulary) == 30
    assert len(data.item_vocabulary) == 20
    (batch,) = list(data.test_dataloader())
    assert (batch.users[0], batch.items[0]) == (0, 0)
    assert (batch.users[1:] > 0).all()
    train = torch.cat([each.users for each in data.train_dataloader()])
    assert train.min() == 1
    assert train.max() == 29


def test_the_mean_is_that_of_the_training_part(small_table, run_config):
    data = module_of(small_table, run_config())
    assert data.mean_rating == small_table.ratings[data.rows.train].astype(float).mean()


def test_whole_batches_are_all_rows_whatever_the_rank(small_table, run_config):
    data = module_of(small_table, run_config())
    data.trainer = SimpleNamespace(
        global_rank=1, world_size=2, strategy=SimpleNamespace(root_device="cpu")
    )
    whole = next(iter(data.whole_batches(data.rows.test)))
    assert whole.ratings.tolist() == small_table.ratings[data.rows.test].tolist()
    assert len(next(iter(data.batches(data.rows.test))).ratings) == len(data.rows.test) // 2


def test_unknown_users_and_items_are_counted_and_have_the_unknown_row(run_config):
    frame = pl.DataFrame(
        {
            "user": [1, 1, 2, 2, 3, 3],
            "item": [1, 2, 1, 2, 1, 9],
            "rating": [1.0, 2.0, 3.0, 4.0, 5.0, 1.0],
            "timestamp": [0, 1, 2, 3, 10, 11],
        }
    )
    table = RatingTable.from_frame(frame, name="late", rating_range=(1.0, 5.0))
    config = run_config("split=temporal", "split.val=0", "split.test=0.3333333333333333")
    data = module_of(table, config)
    assert data.unknown_counts(data.rows.test) == (2, 1)
    columns = data.columns(data.rows.test)
    assert columns.users.tolist() == [0, 0]
    assert sorted(columns.items.tolist()) == [0, 1]
    assert len(data.rows.test) == 2

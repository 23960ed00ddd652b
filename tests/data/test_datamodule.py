import dataclasses

import numpy as np
import torch

from lightning_collab.data.datamodule import RatingDataModule


def module_of(table, config):
    return RatingDataModule(table, config.data, config.split, config.seed)


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

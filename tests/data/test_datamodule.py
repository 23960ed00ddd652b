import dataclasses
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from lightning_collab.config.data import FrameConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.errors import ConfigError, DataError
from lightning_collab.models import DatasetStatistics
from lightning_collab.training.build import load_data


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
    assert len(data.train_dataloader()) == data.batches_per_epoch == 5


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
    table = RatingTable.of_checked(frame, name="late", rating_range=(1.0, 5.0))
    config = run_config("split=temporal", "split.val=0", "split.test=0.3333333333333333")
    data = module_of(table, config)
    assert data.unknown_counts(data.rows.test) == (2, 1)
    columns = data.columns(data.rows.test)
    assert columns.users.tolist() == [0, 0]
    assert sorted(columns.items.tolist()) == [0, 1]
    assert len(data.rows.test) == 2


FRAME = pl.DataFrame(
    {
        "customer": [f"c{n // 10}" for n in range(200)],
        "sku": [n % 10 for n in range(200)],
        "stars": [1 + n * 7 % 5 for n in range(200)],
        "bought": [10**9 + 60 * n for n in range(200)],
    }
)
NAMES = {"user": "customer", "item": "sku", "rating": "stars"}


def test_a_table_needs_nothing_else_and_has_the_shipped_defaults(small_table, run_config):
    data = RatingDataModule(small_table)
    shipped = run_config()
    assert data.settings.split == shipped.split
    assert data.settings.seed == shipped.seed
    assert data.settings.features == shipped.features
    assert data.settings.batch_size == shipped.data.batch_size
    assert data.source is None
    expected = load_data(shipped, small_table)
    assert np.array_equal(data.rows.train, expected.rows.train)
    ones, others = list(data.train_dataloader()), list(expected.train_dataloader())
    assert [one.ratings.tolist() for one in ones] == [other.ratings.tolist() for other in others]


def test_a_run_of_a_config_keeps_its_data_section_as_the_source(small_table, run_config):
    config = run_config("model=least_squares_factors")
    data = load_data(config, small_table)
    assert data.source == config.data
    assert data.settings.batch_size == "full"


def test_a_frame_makes_one_and_is_its_source():
    data = RatingDataModule.from_frame(FRAME, **NAMES, batch_size=32, seed=3)
    assert len(data.table) == 200
    assert isinstance(data.source, FrameConfig)
    assert data.source.rows == 200
    assert data.source.fingerprint
    assert data.source.columns.user == "customer"
    assert (data.source.batch_size, data.settings.batch_size, data.settings.seed) == (32, 32, 3)
    assert len(next(iter(data.train_dataloader())).ratings) == 32


def test_keys_of_a_split_and_of_features_may_be_plain():
    items = pl.DataFrame({"sku": range(10), "colour": ["red", "blue"] * 5})
    data = RatingDataModule.from_frame(
        FRAME,
        **NAMES,
        timestamp="bought",
        items=items,
        split={
            "name": "temporal",
            "by": "date",
            "test": 0.1,
            "val": 0.1,
            "test_from": None,
            "val_from": None,
            "seed": 42,
        },
        features={"items": {"colour": {"kind": "category", "column": "colour"}}},
    )
    assert sorted(data.rows.test) == list(range(180, 200))
    (block,) = data.features.items
    assert block.name == "colour"


def test_a_file_makes_the_same_one(tmp_path):
    FRAME.write_csv(tmp_path / "sales.csv", separator=";")
    FRAME.select("sku").unique().with_columns(title=pl.lit("a")).write_csv(
        tmp_path / "skus.csv", separator=";"
    )
    one = RatingDataModule.from_frame(FRAME, **NAMES)
    other = RatingDataModule.from_file(
        tmp_path / "sales.csv", **NAMES, delimiter=";", items=tmp_path / "skus.csv", cache=False
    )
    assert np.array_equal(one.rows.train, other.rows.train)
    assert one.user_vocabulary == other.user_vocabulary
    assert other.source.path == str(tmp_path / "sales.csv")
    assert len(other.table.item_features) == 10
    with pytest.raises(DataError, match=r"\(user=\); it has .* Then pass delimiter=\"semicolon\"$"):
        RatingDataModule.from_file(tmp_path / "sales.csv", **NAMES, cache=False, delimiter=",")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"batch_size: .*greater than or equal to 1"),
        ({"seed": -1}, r"seed: .*greater than or equal to 0"),
        ({"rating_range": (5, 1)}, r"rating_range: must be \[lowest, highest\] \(got \(5, 1\)\)"),
        ({"duplicates": "first"}, r"duplicates: .*'error', 'last' or 'mean' \(got 'first'\)"),
        ({"user": 3}, r"columns\.user: .*valid string"),
        ({"split": {"name": "randm"}}, r"split\.name: 'randm' is not known; did you mean 'random'"),
        ({"features": {"user": {}}}, r"features\.user: unknown key; did you mean 'users'"),
        (
            {"split": {"name": "leave_one_out", "pick": "last", "val": "one", "seed": 1}},
            r"needs timestamps, .*; in Python, pass the column's name as timestamp=",
        ),
        (
            {
                "split": {
                    "name": "predefined",
                    "val_part": None,
                    "test_part": "test",
                    "val": 0.0,
                    "seed": 1,
                }
            },
            r"does not say which rows belong to which part.* or part=",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        RatingDataModule.from_frame(FRAME, **{**NAMES, **arguments})


def test_statistics_are_those_of_the_training_part(small_table):
    data = RatingDataModule(small_table)
    statistics = DatasetStatistics.of(data)
    assert statistics.user_rows == len(data.user_vocabulary)
    assert statistics.item_rows == len(data.item_vocabulary)
    assert statistics.rating_range == small_table.rating_range
    assert statistics.mean_rating == data.mean_rating
    assert statistics.user_features == data.features.users

import dataclasses
import shutil

import numpy as np
import polars as pl
import pytest
from film_runs import NEVER_RATED, film_table

import lightning_collab
from lightning_collab.data.metadata import History, metadata_table
from lightning_collab.errors import CheckpointError
from lightning_collab.training.build import load_data


def test_counts_and_means_are_those_of_the_training_part(run_config):
    config = run_config()
    data = load_data(config, film_table())
    table, train = data.table, data.rows.train
    raw = table.item_vocabulary.decode(table.items[train])
    expected = (
        pl.DataFrame({"item": raw, "rating": table.ratings[train].astype(np.float64)})
        .group_by("item")
        .agg(pl.len(), pl.col("rating").mean())
        .sort("item")
    )
    found = metadata_table(data, "items")
    known = found[: len(data.item_vocabulary) - 1]
    assert known["item"].equals(data.item_vocabulary.ids)
    assert known["item"].to_list() == expected["item"].to_list()
    assert known["ratings"].to_list() == expected["len"].to_list()
    np.testing.assert_allclose(known["mean_rating"], expected["rating"])
    assert known["ratings"].sum() == len(train)


def test_items_without_training_ratings_come_last(run_config):
    config = run_config()
    data = load_data(config, film_table())
    found = metadata_table(data, "items")
    last = found.row(-1, named=True)
    assert last["item"] == NEVER_RATED
    assert last["ratings"] == 0
    assert last["mean_rating"] is None
    assert found["item"].n_unique() == len(found)


def test_a_source_without_features_has_ids_and_counts(small_table, run_config):
    config = run_config()
    data = load_data(config, small_table)
    found = metadata_table(data, "users")
    assert found.columns == ["user", "ratings", "mean_rating"]
    assert found["ratings"].sum() == len(data.rows.train)


def test_it_is_all_ratings_of_known_users_and_items(trained, film_run):
    table, rows = film_run.data.table, film_run.data.rows
    expected = {}
    for part in ("train", "val", "test"):
        for row in getattr(rows, part):
            user = table.user_vocabulary.decode(table.users[[row]])[0]
            item = table.item_vocabulary.decode(table.items[[row]])[0]
            expected[user, item] = (float(table.ratings[row]), part != "train")
    found = {}
    history = trained.history
    for row, user in enumerate(trained.users["user"], 1):
        items, ratings = history.of(row)
        own = slice(history.starts[row], history.starts[row + 1])
        ids = trained.item_vocabulary.decode(items)
        for item, rating, held_out in zip(ids, ratings, history.held_out[own], strict=True):
            found[user, item] = (float(rating), bool(held_out))
    assert found == expected
    assert len(history) == len(expected)


def test_the_part_that_was_trained_on(trained, film_run):
    trained_on = trained.history.trained()
    counts = np.diff(trained_on.starts)[1:]
    assert counts.tolist() == trained.users["ratings"].to_list()
    assert len(trained_on) == len(film_run.data.rows.train)
    assert not trained_on.held_out.any()


@pytest.fixture
def copy(film_run, tmp_path):
    shutil.copytree(film_run.directory.path, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_run_without_a_history_can_still_be_asked(copy):
    (copy / "history.parquet").unlink()
    run = lightning_collab.load(copy)
    with pytest.raises(CheckpointError, match=r"Train it again, or set seen=none"):
        run.recommend(user=500)
    assert len(run.recommend(user=500, seen="none", top_k=3)) == 3
    assert len(run.predict([500], [11])) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[:0], "not the history"),
        (lambda table: table.rename({"item": "film"}), "not the history"),
        (lambda table: table.reverse(), "not sorted"),
        (lambda table: table.with_columns(pl.col("item") + 1000), "not of the users and items"),
        (lambda table: table.with_columns(pl.col("user") + 1), "not of the users and items"),
        (lambda table: table.with_columns(pl.col("item") - 5), "not sorted"),
    ],
)
def test_the_history_of_another_run_is_refused(copy, change, message):
    path = copy / "history.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    # As a version that kept no sums left it.
    (copy / "sums.json").unlink()
    with pytest.raises(CheckpointError, match=message):
        _ = lightning_collab.load(copy).history


def test_a_damaged_history_is_named(copy):
    (copy / "history.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(CheckpointError, match=r"history\.parquet: altered, or only partly copied"):
        _ = lightning_collab.load(copy).history
    (copy / "sums.json").unlink()
    with pytest.raises(CheckpointError, match=r"history\.parquet: not readable"):
        _ = lightning_collab.load(copy).history


def test_nobody_has_rated_what_is_not_there():
    nothing = History(np.zeros(3, np.int64), *(np.empty(0, t) for t in ("i4", "f4", "?")))
    assert dataclasses.astuple(nothing.trained())[1].size == 0
    assert nothing.of(1)[0].size == 0

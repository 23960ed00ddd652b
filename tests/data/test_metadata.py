import numpy as np
import polars as pl
from film_runs import NEVER_RATED, film_table

from lightning_collab.data.metadata import metadata_table
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

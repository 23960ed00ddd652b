"""What a run is compared with: fitted to training rows alone, measured on others."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from lightning_collab.metrics.baselines import BIAS_PENALTY, BiasBaseline, baseline_metrics
from lightning_collab.training.build import load_data

PARTS = {"test": True, "val": False}


def data_of(table, run_config):
    config = run_config("split.test=0.3", "split.val=0.2")
    return load_data(config, table)


@pytest.fixture
def data(small_table, run_config):
    """Ratings of the ends of the scale, most of them, so that predictions go beyond it."""
    ends = np.where(small_table.ratings > 2, 5, 1).astype(np.float32)
    ends[small_table.users % 3 == 0] = 5
    ends[small_table.items % 5 == 0] = 5
    return data_of(replace(small_table, ratings=ends), run_config)


def design(data, rows):
    """Two entries of 1 in each row: of the user and of the item."""
    columns = data.columns(rows)
    users = np.eye(len(data.user_vocabulary))[columns.users]
    return np.hstack([users, np.eye(len(data.item_vocabulary))[columns.items]])


@pytest.mark.parametrize("part", PARTS)
def test_both_are_fitted_to_the_training_part_and_measured_on_the_other(data, part):
    measured = getattr(data.rows, part)
    train, ratings = design(data, data.rows.train), data.table.ratings
    mean = ratings[data.rows.train].mean(dtype=np.float64)
    # Ridge regression by its normal equations.
    normal = train.T @ train + BIAS_PENALTY * np.eye(train.shape[1])
    biases = np.linalg.solve(normal, train.T @ (ratings[data.rows.train] - mean))
    predicted = mean + design(data, measured) @ biases
    assert predicted.max() > 5, "the example must go beyond the scale"
    errors = predicted.clip(1, 5) - ratings[measured]
    assert baseline_metrics(data, test=PARTS[part]) == {
        "baseline/mean_rmse": pytest.approx(np.sqrt(((ratings[measured] - mean) ** 2).mean())),
        "baseline/bias_rmse": pytest.approx(np.sqrt((errors**2).mean()), rel=1e-5),
    }


@pytest.mark.parametrize("side", ["items", "users"])
def test_of_new_ids_the_biases_of_the_other_side_alone_may_be_best(side, ml_100k, run_config):
    """Written out: means of one side's ratings, drawn to the mean of all as by 5 more of it."""
    data = load_data(run_config(f"split=cold_{side}", "split.seed=42"), ml_100k)
    ids = ml_100k.users if side == "items" else ml_100k.items
    train, test = data.rows.train, data.rows.test
    mean = ml_100k.ratings[train].astype(np.float64).mean()
    frame = pl.DataFrame({"id": ids[train], "rating": ml_100k.ratings[train].astype(np.float64)})
    drawn = pl.col("rating").sum() + BIAS_PENALTY * mean
    alone = dict(frame.group_by("id").agg(drawn / (pl.len() + BIAS_PENALTY)).iter_rows())
    predicted = np.array([alone.get(each, mean) for each in ids[test]])
    expected = np.sqrt(((predicted - ml_100k.ratings[test]) ** 2).mean())
    found = baseline_metrics(data)
    columns, held_out = data.columns(train), data.columns(test)
    both = BiasBaseline.fit(
        columns.users,
        columns.items,
        columns.ratings,
        user_rows=len(data.user_vocabulary),
        item_rows=len(data.item_vocabulary),
    )
    together = both.predict(held_out.users, held_out.items).clip(1, 5)
    of_both = np.sqrt(((together - held_out.ratings) ** 2).mean())
    assert found["baseline/bias_rmse"] == pytest.approx(min(expected, of_both), rel=1e-5)
    if side == "items":
        assert expected < of_both - 0.01


def test_without_a_part_to_measure_there_are_none(small_table, run_config):
    config = run_config("split.test=0", "split.val=0")
    data = load_data(config, small_table)
    assert baseline_metrics(data) == {}

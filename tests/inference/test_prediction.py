import numpy as np
import polars as pl
import pytest
import torch
from model_runs import MODELS

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.features import TimeEffect

USERS, ITEMS = [500, 501, 559, 1, None], [10, 54, 12, 13, 99]


def forward(run, users, items, day=None):
    rows = run.user_vocabulary.encode(users), run.item_vocabulary.encode(items)
    batch = RatingBatch(*map(torch.from_numpy, rows), torch.zeros(len(users)), day)
    return run.model(batch).clamp(*run.rating_range).numpy()


@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_those_of_the_model_on_the_scale(run_of, name):
    run = run_of(name)
    found = run.predict(USERS, ITEMS)
    np.testing.assert_allclose(found["prediction"], forward(run, USERS, ITEMS), atol=2e-6)
    assert found["known_user"].to_list() == [True, True, True, False, False]
    # Nobody rated film 99; it is known by its features.
    assert found["known_item"].to_list() == [True] * 5
    assert found["prediction"].is_between(1, 5).all()


def test_the_trained_model_is_clamped_too(trained):
    found = trained.predict(USERS, ITEMS)
    np.testing.assert_allclose(found["prediction"], forward(trained, USERS, ITEMS), atol=2e-6)
    assert found.columns == ["prediction", "known_user", "known_item"]


def test_a_model_that_knows_its_uncertainty_says_it(run_of):
    run = run_of("bayesian_factors")
    found = run.predict(USERS, ITEMS)
    rows = run.user_vocabulary.encode(USERS), run.item_vocabulary.encode(ITEMS)
    batch = RatingBatch(*map(torch.from_numpy, rows), torch.zeros(len(USERS)))
    _, expected = run.model.predict_with_deviation(batch)
    np.testing.assert_allclose(found["standard_deviation"], expected)
    assert (found["standard_deviation"] > 0).all()


@pytest.mark.parametrize(
    "users",
    [
        ["500", "501"],
        [500.0, 501.0],
        np.array([500, 501]),
        np.array([500, 501], dtype=np.float32),
        torch.tensor([500, 501]),
        pl.Series([500, 501], dtype=pl.Int16),
        pl.Series(["500", "501"]),
        pl.Series([500.0, 501.0]),
        pl.Series(["500", "501"], dtype=pl.Categorical),
        [np.int64(500), "501"],
    ],
    ids=repr,
)
def test_ids_are_compared_whatever_their_type(trained, users):
    assert trained.predict(users, [10, 11]).equals(trained.predict([500, 501], [10, 11]))


@pytest.mark.parametrize(
    "users",
    [
        ["abc", 10**40],
        [500.5, float("nan")],
        [None, True],
        [{"a": 1}, []],
        pl.Series([500.5, float("inf")]),
        pl.Series([[500], [501]]),
        pl.Series([True, False]),
    ],
    ids=repr,
)
def test_what_is_no_id_is_unknown(trained, users):
    found = trained.predict(users, [10, 10])
    assert not found["known_user"].any()
    assert found["prediction"].n_unique() == 1


def test_one_user_goes_with_many_items_and_one_item_with_many_users(trained):
    users, items = trained.users["user"].to_list()[:3], trained.items["item"].to_list()[:3]
    assert trained.predict(users[:1], items).equals(trained.predict(users[:1] * 3, items))
    assert trained.predict(users, items[:1]).equals(trained.predict(users, items[:1] * 3))
    assert trained.predict(users[:1], []).is_empty()


def test_columns_of_different_lengths_are_a_mistake(trained):
    with pytest.raises(ValueError, match="2 users, but 3 items"):
        trained.predict([1, 2], [1, 2, 3])


def test_time_counts_where_the_model_knows_it(run_of, trained):
    day = np.array([100, 100, 200], dtype=np.int32)
    rows = np.array([1, 2, 3], dtype=np.int32)
    effect = TimeEffect.fit("user_day", "users", 1, rows, day)
    run = run_of("embedding_dot_bias", time_effects=(effect,))
    run.config["features"] = {"time": {"user_day": {"of": "users", "days": 1}}}
    users, items = [500, 501, 502, 502], [10, 10, 10, 10]
    seconds = pl.Series([100, 101, 200, None]) * 86_400 + 3_600
    found = run.predict(users, items, seconds)["prediction"]
    timeless = run.predict(users, items)["prediction"]
    days = torch.tensor([100, 101, 200, -9], dtype=torch.int32)
    np.testing.assert_allclose(found, forward(run, users, items, days), atol=2e-6)
    # Known are user 500 on day 100 and user 502 on day 200.
    assert (np.abs(found - timeless) > 1e-3).to_list() == [True, False, True, False]
    with pytest.raises(ValueError, match="4 pairs, but 1 timestamps"):
        run.predict(users, items, seconds[:1])
    del run.config["features"]

import numpy as np
import polars as pl
import pytest
import torch
from model_runs import MODELS, ratings_of_all_items

from lightning_collab.errors import ConfigError, NotFoundError


def expected(run, user_row, left_out, k):
    """Item ids by the model's own ratings, sorted in full."""
    scores = ratings_of_all_items(run, user_row)
    scores[np.asarray(left_out, dtype=int) - 1] = -np.inf
    scores[run.items["ratings"].to_numpy() == 0] = -np.inf
    order = [n for n in np.argsort(-scores, kind="stable") if scores[n] > -np.inf][:k]
    return run.items["item"].gather(order).to_list(), scores[order].clip(*run.rating_range)


@pytest.mark.parametrize("name", MODELS)
def test_the_best_unseen_items_of_each_user(run_of, name):
    run = run_of(name)
    together = run.recommend_all(top_k=4)
    for row in (1, 30, 60):
        user = run.users["user"][row - 1]
        items, scores = expected(run, row, run.history.of(row)[0], 4)
        found = run.recommend(user=user, top_k=4)
        assert found["item"].to_list() == items
        np.testing.assert_allclose(found["prediction"], scores, atol=2e-6)
        own = together.filter(pl.col("user") == user)
        assert own["item"].to_list() == items
        assert own["rank"].to_list() == [1, 2, 3, 4]
        np.testing.assert_allclose(own["prediction"], scores, atol=2e-6)
    assert together["user"].unique().sort().equals(run.users["user"])


@pytest.mark.parametrize("seen", ["all", "train", "none"])
def test_what_is_left_out_is_a_choice(trained, seen):
    row = 7
    history = {"all": trained.history, "train": trained.history.trained()}.get(seen)
    left_out = [] if history is None else history.of(row)[0]
    items, _ = expected(trained, row, left_out, 45)
    user = trained.users["user"][row - 1]
    assert trained.recommend(user=user, top_k=45, seen=seen)["item"].to_list() == items
    together = trained.recommend_all(top_k=45, seen=seen).filter(pl.col("user") == user)
    assert together["item"].to_list() == items
    counts = [len(trained.recommend(user=user, top_k=45, seen=s)) for s in ("all", "train", "none")]
    assert counts[0] < counts[1] < counts[2] == 45


def test_several_users_in_one_table(trained):
    users = trained.users["user"].gather([6, 0, 6, 30])
    found = trained.recommend(user=users, top_k=3)
    assert found.columns[:3] == ["user", "rank", "item"]
    assert found.schema["user"] == trained.users.schema["user"]
    assert found["user"].unique(maintain_order=True).to_list() == users[[0, 1, 3]].to_list()
    for user in users:
        own = found.filter(pl.col("user") == user)
        assert own["rank"].to_list() == [1, 2, 3]
        assert own.drop("user", "rank").equals(trained.recommend(user=user, top_k=3))
    together = trained.recommend_all(top_k=3).filter(pl.col("user").is_in(users.to_list()))
    assert found.sort("user", "rank")["item"].equals(together["item"])
    for given in (users.to_list(), users.to_numpy(), tuple(users), torch.tensor(users.to_list())):
        assert trained.recommend(user=given, top_k=3).equals(found)
    one = trained.recommend(user=[users[0]], top_k=3)
    assert one.equals(found.head(3))


def test_several_users_of_whom_one_is_unknown(trained):
    with pytest.raises(NotFoundError, match="there is no user 12345;"):
        trained.recommend(user=[trained.users["user"][0], 12345])
    with pytest.raises(ConfigError, match="user: at least one is needed"):
        trained.recommend(user=[])


def test_items_of_somebody_new_are_named_by_titles_too(trained):
    items = trained.items.filter(pl.col("title").is_unique()).head(2)
    by_id = dict(zip(items["item"], (5.0, 4.0), strict=True))
    by_title = dict(zip(items["title"], (5.0, 4.0), strict=True))
    found = trained.recommend(ratings=by_title, top_k=3)
    assert found.equals(trained.recommend(ratings=by_id, top_k=3))
    similar = trained.similar(item=items["title"][0], top_k=2, min_ratings=1)
    assert similar.equals(trained.similar(item=items["item"][0], top_k=2, min_ratings=1))
    with pytest.raises(NotFoundError, match="no title matches 'No Such Film'"):
        trained.recommend(ratings={"No Such Film": 5.0})


def test_blocks_of_users_make_no_difference(trained, monkeypatch):
    whole = trained.recommend_all(top_k=3)
    monkeypatch.setattr(
        "lightning_collab.inference.recommendation.SCORES_AT_A_TIME", 7 * len(trained.items)
    )
    parts = trained.recommend_all(top_k=3)
    assert parts.drop("prediction").equals(whole.drop("prediction"))
    np.testing.assert_allclose(parts["prediction"], whole["prediction"], atol=2e-6)


def test_reasons_are_the_nearest_films_that_the_user_rated_well(trained):
    user, row = 507, 8
    found = trained.recommend(user=user, top_k=5)
    items, ratings = trained.history.of(row)
    vectors = trained.model.embedding_tables()["items"].numpy().astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    good = items[ratings >= min(ratings.mean(), 4)]
    for item, reasons in zip(found["item"], found["because_of"], strict=True):
        own = trained.item_vocabulary.encode([item])[0]
        cosines = vectors[good - 1] @ vectors[own - 1]
        best = np.argsort(-cosines)[:3]
        rows = good[best][cosines[best] > 0]
        assert [each["item"] for each in reasons] == trained.item_vocabulary.decode(rows).to_list()
        similarities = [each["similarity"] for each in reasons]
        np.testing.assert_allclose(similarities, cosines[best][: len(rows)], atol=1e-5)
        titles = trained.items["title"].gather(rows - 1).to_list()
        assert [each["title"] for each in reasons] == titles
    # The made-up people like one genre, so what they liked explains what they will like.
    assert found["because_of"].list.len().min() > 0


def test_films_are_described(trained):
    found = trained.recommend(user=500, top_k=2)
    columns = ["item", "title", "genres", "prediction", "because_of", "ratings"]
    assert found.columns == columns
    described = trained.items.filter(pl.col("item") == found["item"][0])
    assert described["title"][0] == found["title"][0]
    assert described["ratings"][0] == found["ratings"][0]
    assert trained.recommend_all(top_k=1).columns == ["user", "rank", "item", "title", "prediction"]


@pytest.mark.parametrize("top_k", [0, -1, 47, 10**9])
def test_a_number_that_there_cannot_be(trained, top_k):
    for ask in (
        lambda: trained.recommend(user=500, top_k=top_k),
        lambda: trained.recommend(ratings={10: 5}, top_k=top_k),
        lambda: trained.recommend_all(top_k=top_k),
    ):
        with pytest.raises(ConfigError, match=rf"top_k: {top_k} is not from 1 to 46"):
            ask()


def test_an_unknown_user_gets_the_closest_known_ones(trained):
    with pytest.raises(NotFoundError, match=r"no user 560; .* from 500 to 559; the closest: 559$"):
        trained.recommend(user=560)
    with pytest.raises(NotFoundError, match=r"its ids are numbers"):
        trained.recommend(user="ann")


def test_four_of_five_is_liked_below_the_mean_too(trained):
    """Of 5, 5 and 4 the mean is 4.67; the 4 is a reason as well, and a 3 is none."""
    items = trained.items["item"].to_list()[:12:3]  # of one genre, so that each is near some film
    ratings = dict(zip(items, (5.0, 5.0, 4.0, 3.0), strict=True))
    found = trained.recommend(ratings=ratings, top_k=42)
    named = {each["item"] for because in found["because_of"].to_list() for each in because}
    assert items[2] in named
    assert items[3] not in named


def test_somebody_must_be_meant(trained):
    for asked in ({}, {"user": 500, "ratings": {10: 5}}):
        with pytest.raises(ConfigError, match="give one of user, ratings and items"):
            trained.recommend(**asked)

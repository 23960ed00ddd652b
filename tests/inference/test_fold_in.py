import numpy as np
import pytest
import torch
from model_runs import MODELS

from lightning_collab.errors import ConfigError, NotFoundError
from lightning_collab.inference.fold_in import TrainedUsers


def solved(run, items, ratings, variance):
    rows = run.trained_users.rows_of_user(
        run.item_scores, torch.tensor(items), torch.tensor(ratings), variance
    )
    return torch.cat(list(rows.values()), dim=1)[0].double().numpy()


@pytest.mark.parametrize("name", ["linear_dot_bias", "least_squares_factors", "matrix_product"])
@pytest.mark.parametrize("variance", [0.1, 2.0])
def test_a_linear_model_gives_the_ridge_regression(run_of, name, variance):
    run = run_of(name)
    items, ratings = [3, 8, 20, 21, 40], [5.0, 1.0, 4.0, 4.0, 2.0]
    tables = run.item_scores.tables
    q = tables["embeddings"]["items"][items].double().numpy()
    users = [table["users"].double().numpy() for table in tables.values()]
    target = np.array(ratings)
    if name != "matrix_product":
        q = np.column_stack([q, np.ones(len(q))])
        bias = tables["biases"]["items"][items, 0].double().numpy()
        target = target - 3.4 - bias
    known = np.column_stack([table[1:] for table in users])
    mean = np.concatenate([table[0] for table in users])
    covariance = np.cov(known.T)
    covariance += np.eye(len(mean)) * (1e-3 * np.diag(covariance).mean() + 1e-12)
    precision = variance * np.linalg.inv(covariance)
    expected = mean + np.linalg.solve(q.T @ q + precision, q.T @ (target - q @ mean))
    np.testing.assert_allclose(solved(run, items, ratings, variance), expected, atol=2e-3)


@pytest.mark.parametrize("name", MODELS)
def test_the_solution_is_a_minimum(run_of, name):
    run = run_of(name)
    items, ratings, variance = [3, 8, 20], [5.0, 1.0, 4.0], 0.5
    best = solved(run, items, ratings, variance)
    users, scores = run.trained_users, run.item_scores
    inverse = np.linalg.inv(users.factor.numpy())

    def objective(x):
        parts = torch.split(torch.tensor(x)[None].float(), list(users.widths), dim=1)
        pairs = {
            group: (part.expand(len(items), -1), scores.tables[group]["items"][items])
            for group, part in zip(users.groups, parts, strict=True)
        }
        errors = run.model.rate_rows(pairs).double().numpy() - np.array(ratings)
        return (errors**2).sum() + variance * ((inverse @ (x - users.mean.numpy())) ** 2).sum()

    # The rectified layer of the net has edges, near which the search goes slowly.
    slack = 5e-3 if name == "embedding_net" else 1e-4
    lowest = objective(best)
    random = np.random.default_rng(0)
    for size in (0.3, 0.03):
        for _ in range(20):
            step = users.factor.numpy() @ random.normal(size=len(best)) * size
            assert objective(best + step) > lowest - slack


def test_without_a_doubt_in_the_prior_a_person_is_a_typical_user(trained):
    rows = solved(trained, [3, 8], [5.0, 1.0], 1e9)
    np.testing.assert_allclose(rows, trained.trained_users.mean, atol=1e-4)


def test_the_prior_is_that_of_the_trained_users(run_of):
    run = run_of("linear_dot_bias")
    users = run.trained_users
    assert users.groups == ("embeddings", "biases")
    assert users.widths == (4, 1)
    known = torch.cat([t["users"][1:] for t in run.item_scores.tables.values()], dim=1).double()
    covariance = users.factor @ users.factor.T
    np.testing.assert_allclose(covariance, np.cov(known.T.numpy()), atol=2e-3)
    np.testing.assert_allclose(users.mean, known.mean(0), atol=1e-6)


def test_the_error_is_that_of_held_out_ratings(trained):
    errors = []
    history = trained.history
    for row, user in enumerate(trained.users["user"], 1):
        own = slice(history.starts[row], history.starts[row + 1])
        ids = trained.item_vocabulary.decode(history.items[own])
        found = trained.predict([user] * len(ids), ids)["prediction"].to_numpy()
        errors.append((found - history.ratings[own])[history.held_out[own]])
    assert trained.error_variance == pytest.approx(float((np.concatenate(errors) ** 2).mean()))


@pytest.mark.parametrize("genre", [0, 1, 2])
def test_a_person_is_understood_from_a_few_ratings(trained, genre):
    # The films of genre g are those with (id - 10) % 3 == g; who likes one dislikes the others.
    ratings = {10 + n: 5 if n % 3 == genre else 2 for n in range(9, 15)}
    found = trained.recommend(ratings=ratings, top_k=8)
    assert not set(found["item"]) & set(ratings)
    assert [(item - 10) % 3 for item in found["item"]] == [genre] * 8
    assert all(each["rating"] == 5 for row in found["because_of"] for each in row)


def test_one_rating_moves_little_and_many_move_more(trained):
    liked = [n for n in range(45) if n % 3 == 1]
    before = trained.trained_users.mean.numpy()
    moved = [
        np.linalg.norm(solved(trained, [n + 1 for n in liked[:k]], [5.0] * k, 0.8) - before)
        for k in (1, 5, 15)
    ]
    assert 0 < moved[0] < moved[1] < moved[2]


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ({}, "at least one is needed"),
        ({10: 6}, "6 of item 10 is not on the scale from 1 to 5"),
        ({10: 0.5}, "not on the scale"),
        ({10: "5"}, "not on the scale"),
        ({10: float("nan")}, "not on the scale"),
    ],
)
def test_ratings_that_make_no_sense(trained, ratings, message):
    with pytest.raises(ConfigError, match=message):
        trained.recommend(ratings=ratings)


def test_an_unknown_film_gets_the_closest_known_ones(trained):
    with pytest.raises(NotFoundError, match=r"no item 8; .* the closest: 10"):
        trained.recommend(ratings={11: 5, 8: 4})


def test_a_film_that_nobody_rated_says_something_of_somebody_new(trained):
    """By its features: it is a comedy, and the first ones to be shown are like it."""
    assert len(trained.recommend(ratings={99: 5}, top_k=5)) == 5


def test_a_model_without_item_factors_is_refused(trained):
    class NoFactors:
        tables: dict = {}  # noqa: RUF012
        model = object()

    with pytest.raises(NotFoundError, match="a model without item factors"):
        TrainedUsers.of(NoFactors())

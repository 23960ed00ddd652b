"""Rows of ids and titles; what is no id, number or word is refused in a sentence."""

import numpy as np
import polars as pl
import pytest
import torch

import lightning_collab
from lightning_collab.errors import LightningCollabError, NotFoundError
from lightning_collab.inference.lookup import (
    ids_in,
    is_id,
    normalised,
    one_of,
    row_of_id,
    row_of_title,
    whole,
)
from lightning_collab.training.trained_model import TrainedModel


@pytest.fixture(scope="module")
def run(film_run):
    return lightning_collab.load(film_run.directory.path)


def item(run, row):
    return run.items["item"][row - 1]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("Star Wars (1977)", 11),
        ("star wars", 11),
        ("  STAR WARS  ", 11),
        ("The Godfather", 10),
        ("godfather, the", 10),
        ("The Godfather (1972)", 10),
        ("father", 10),
        ("Heat (1995)", 18),
        ("wars", 11),
    ],
)
def test_a_title_is_found_as_people_type_it(run, typed, expected):
    assert item(run, row_of_title(run, typed)) == expected


@pytest.mark.parametrize("typed", ["Twice (1997)", "Twice", "heat", "star"])
def test_a_title_of_several_films_lists_them_with_their_ids(run, typed):
    with pytest.raises(NotFoundError, match="2 titles match") as error:
        row_of_title(run, typed)
    assert str(error.value).count("  item=") == 2


def test_a_long_list_is_cut(run):
    with pytest.raises(NotFoundError, match=r"match 'film'(.|\n)*and \d+ more"):
        row_of_title(run, "film")


@pytest.mark.parametrize(
    ("typed", "suggested"), [("Stra Wars", "Star Wars (1977)"), ("Godfahter", "Godfather, The")]
)
def test_a_misspelt_title_gets_the_closest_ones(run, typed, suggested):
    with pytest.raises(NotFoundError) as error:
        row_of_title(run, typed)
    assert suggested in str(error.value).splitlines()[1]


def test_a_title_like_no_other_gets_no_suggestion(run):
    with pytest.raises(NotFoundError) as error:
        row_of_title(run, "qqqqqqqqqqqqqqqq")
    assert str(error.value) == "no title matches 'qqqqqqqqqqqqqqqq'"


def test_ids_are_found_whatever_their_type(run):
    assert item(run, row_of_id(run, "items", 11)) == 11
    assert item(run, row_of_id(run, "items", "11")) == 11
    assert run.users["user"][row_of_id(run, "users", 507) - 1] == 507


def test_a_film_that_is_known_by_features_alone_has_a_row(run):
    assert item(run, row_of_id(run, "items", 99)) == 99
    assert row_of_id(run, "items", 99) == run.item_vocabulary.warm + 1


def test_a_film_of_which_the_model_knows_nothing_is_not_called_unknown(film_run):
    run = TrainedModel.load(film_run.directory.path, cold=False)
    with pytest.raises(NotFoundError, match=r"item 99 Film 99 .* has no training ratings"):
        row_of_id(run, "items", 99)


def test_an_id_that_there_is_not_says_which_there_are(run):
    with pytest.raises(NotFoundError, match=r"no user 1; .* 60 users, with ids from 500 to 559"):
        row_of_id(run, "users", 1)


def test_articles_and_years_do_not_matter():
    assert normalised("Godfather, The (1972)") == normalised("the GODFATHER") == "the godfather"
    assert normalised("Thea (1972)") == "thea"


WRONG = {
    "recommend": [
        ({"user": None}, "give one of user, ratings and items"),
        ({"user": {"a": 1}}, "user: must be an id, or a list, array or column of ids, not a dict"),
        ({"user": pl.DataFrame({"user": [1]})}, "not a DataFrame"),
        ({"ratings": [1, 2]}, r"ratings: must be a dictionary .*\{1: 5, 50: 4\}, not a list"),
        ({"ratings": pl.DataFrame({"item": [1]})}, "ratings: must be a dictionary"),
        ({"ratings": {11: "5"}}, "ratings: '5' of item 11 is not on the scale"),
        ({"ratings": {11: True}}, "ratings: True of item 11 is not on the scale"),
        ({"ratings": {"Star Wers": 5}}, r"no title matches 'Star Wers'.*\n  Star Wars \(1977\)"),
        ({"user": 507, "top_k": "5"}, "top_k: must be a whole number \\(got '5'\\)"),
        ({"user": 507, "top_k": 2.5}, "top_k: must be a whole number"),
        ({"user": 507, "seen": "al"}, "seen: there is no 'al'; did you mean 'all'"),
        ({"user": 507, "only": True}, "only: the run knows none"),
        ({"user": 507, "only": None, "exclude": object()}, "exclude: must be an id"),
        ({"user": 507, "min_ratings": "5"}, "min_ratings: must be a whole number"),
        ({"user": 507, "min_ratings": -1}, "min_ratings: at least 0 is needed"),
        ({"user": 507, "new_items": "all"}, "new_items: must be a whole number"),
    ],
    "recommend_all": [
        ({"top_k": None}, "top_k: must be a whole number"),
        ({"seen": None}, "seen: there is no None"),
    ],
    "predict": [
        ({"users": None, "items": [11]}, "users: must be an id.*, not None"),
        ({"users": 507, "items": {11: 1}}, "items: must be an id.*, not a dict"),
    ],
    "similar": [
        ({"item": 11, "measure": "euclid"}, "measure: there is no 'euclid'; known here: cosine"),
        ({"item": 11, "top_k": "3"}, "top_k: must be a whole number"),
        ({"item": [11, 12]}, r"there is no item \[11, 12\]"),
        ({"item": "Star Wers"}, r"no title matches 'Star Wers'.*\n  Star Wars \(1977\)"),
    ],
}
CASES = [(name, *case) for name, cases in WRONG.items() for case in cases]


@pytest.mark.parametrize(("name", "asked", "message"), CASES)
def test_it_is_said_in_words(trained, name, asked, message):
    with pytest.raises(LightningCollabError, match=f"(?s){message}"):
        getattr(trained, name)(**asked)


def test_a_path_that_is_none():
    with pytest.raises(LightningCollabError, match=r"run: must be the path of .* \(got None\)"):
        lightning_collab.load(None)


def test_one_id_stands_for_a_list_of_it(trained):
    pair = trained.predict([507], [11])
    for user, item in ((507, 11), ("507", "11"), (np.int64(507), 11.0)):
        assert trained.predict(user, item).equals(pair)
    assert trained.predict(507, [11, 12]).equals(trained.predict([507, 507], [11, 12]))
    assert trained.predict([507, 508], 11).equals(trained.predict([507, 508], [11, 11]))


def test_numbers_of_numpy_are_numbers(trained):
    expected = trained.recommend(ratings={11: 5, 12: 2}, top_k=3)
    found = trained.recommend(ratings={11: np.float32(5), 12: np.int64(2)}, top_k=np.int64(3))
    assert found.equals(expected)


def test_the_checks_alone():
    assert whole("k", np.int32(3)) == 3
    assert is_id("a")
    assert not is_id(["a"])
    assert ids_in("users", torch.tensor([1, 2])) == [1, 2]
    column = pl.Series([1, 2])
    assert ids_in("users", column) is column
    one_of("side", "items", ("items", "users"))

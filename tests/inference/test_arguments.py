"""What is no id, number or word is refused in a sentence, not by an error of Python's own."""

import numpy as np
import polars as pl
import pytest
import torch

import lightning_collab
from lightning_collab.errors import LightningCollabError
from lightning_collab.inference.lookup import ids_in, is_id, one_of, whole

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

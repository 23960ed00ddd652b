import pytest

import lightning_collab
from lightning_collab.errors import NotFoundError
from lightning_collab.inference.lookup import normalised, row_of_id, row_of_title
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

"""Items that a run was not trained on: shown in places of their own, and added later."""

import shutil

import numpy as np
import polars as pl
import pytest
import torch
from film_runs import NEVER_RATED

import lightning_collab
from lightning_collab.errors import CheckpointError, ConfigError, DataError
from lightning_collab.inference.new_items import add_items, read_items

NEW = {
    "item": [7, 8, 9],
    "title": ["A Drama", "A Comedy", "A Horror"],
    "year": [1920, 1921, 1922],
    "genres": ["Drama", "Comedy|Long", "Horror"],
}


@pytest.fixture
def path(film_run, tmp_path):
    return shutil.copytree(film_run.directory.path, tmp_path / "run")


def contents(path):
    return {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}


@pytest.fixture
def added(path, tmp_path):
    """The run with three more films, loaded again."""
    pl.DataFrame(NEW).write_csv(tmp_path / "new.csv")
    run = lightning_collab.load(path)
    assert add_items(run, read_items(tmp_path / "new.csv", run)) == 4
    return lightning_collab.load(path)


def test_new_items_are_shown_only_where_they_are_asked_for(trained):
    assert NEVER_RATED not in trained.recommend(user=500, top_k=45, seen="none")["item"]
    found = trained.recommend(user=500, top_k=5, new_items=2)
    assert found["item"].is_in([NEVER_RATED]).sum() == 1
    assert len(found) == 5
    assert found["prediction"].is_sorted(descending=True)
    only = trained.recommend(user=500, new_items="only")
    assert only["item"].to_list() == [NEVER_RATED]
    assert only["ratings"].to_list() == [0]


def test_for_all_users_as_for_each(added):
    together = added.recommend_all(top_k=6, new_items=2)
    for user in (500, 531, 559):
        own = added.recommend(user=user, top_k=6, new_items=2)
        mine = together.filter(pl.col("user") == user)
        assert mine["item"].to_list() == own["item"].to_list()
        assert mine["rank"].to_list() == [1, 2, 3, 4, 5, 6]
        assert own["item"].is_in([7, 8, 9, NEVER_RATED]).sum() == 2
    only = added.recommend_all(top_k=6, new_items="only")
    assert only["item"].is_in([7, 8, 9, NEVER_RATED]).all()
    assert only["user"].value_counts()["count"].unique().to_list() == [4]


def test_the_rest_of_a_list_is_as_without_new_ones(added):
    known = added.recommend(user=507, top_k=4)["item"].to_list()
    mixed = added.recommend(user=507, top_k=6, new_items=2)
    assert mixed.filter(pl.col("ratings") > 0)["item"].to_list() == known


@pytest.mark.parametrize("new_items", [-1, 11])
def test_a_number_of_new_items_that_there_cannot_be(trained, new_items):
    with pytest.raises(ConfigError, match=rf"new_items: {new_items} is not from 0 to top_k=10"):
        trained.recommend(user=500, new_items=new_items)


def test_where_there_are_none_it_says_how_to_make_some_known(trained):
    with pytest.raises(ConfigError, match=r"new_items: the run knows no item .* add-items"):
        trained.recommend(user=500, new_items="only", exclude=[NEVER_RATED])


def test_from_python_as_by_the_command(added):
    films = pl.DataFrame({**NEW, "item": [1, 2, 3]}).rename({"item": "movieId"})
    run = added.add_items(films.to_pandas())
    assert run.items["item"].to_list()[-7:] == [1, 2, 3, 7, 8, 9, NEVER_RATED]
    # The same features give the same rows, whenever they came.
    for new, old in ((1, 7), (2, 8), (3, 9)):
        assert run.predict([500], [new]).equals(added.predict([500], [old]))


def test_what_is_known_stays_as_it_is(added, film_run):
    before = lightning_collab.load(film_run.directory.path)
    users, items = [500, 507, 559, 1], [10, 20, NEVER_RATED, 30]
    assert added.predict(users, items).equals(before.predict(users, items))
    assert added.items["item"].to_list()[-4:] == [7, 8, 9, NEVER_RATED]
    assert added.items.filter(pl.col("item") == 8)["genres"].to_list() == [["Comedy", "Long"]]


def test_people_get_new_films_of_the_genre_that_they_like(added):
    """Of the made-up people a third likes each genre; the films of each are 10, 13, ..."""
    best = [
        added.recommend(user=user, new_items="only", top_k=1, only=[7, 8, 9])["item"][0]
        for user in range(500, 560)
    ]
    liked = [7 + (user - 500) % 3 for user in range(500, 560)]
    assert np.mean(np.equal(best, liked)) > 0.8


def test_a_new_film_says_something_of_somebody_new(added):
    found = added.recommend(ratings={8: 5, 7: 1, 9: 1}, top_k=3)
    # Of comedies the ids are 11, 14, ...
    assert all(item % 3 == 2 for item in found["item"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item": [7, 10, 8]}, r"item 10 already exists; leave out"),
        ({"item": [7, 7, 8]}, r"item 7 comes twice"),
        ({"item": ["a", "b", "c"]}, r"'a'"),
        ({"genres": None, "year": None, "title": None}, r"none of the features .*\(year, genres\)"),
    ],
)
def test_items_that_cannot_be_added(path, tmp_path, change, message):
    frame = pl.DataFrame({name: each for name, each in {**NEW, **change}.items() if each})
    frame.write_csv(tmp_path / "new.csv")
    before = contents(path)
    run = lightning_collab.load(path)
    with pytest.raises(DataError, match=message):
        add_items(run, read_items(tmp_path / "new.csv", run))
    assert contents(path) == before


def test_a_feature_that_no_new_item_has_is_named(path, tmp_path, caplog):
    frame = pl.DataFrame(NEW).drop("year")
    frame.write_csv(tmp_path / "new.csv")
    run = lightning_collab.load(path)
    assert add_items(run, read_items(tmp_path / "new.csv", run), "new.csv") == 4
    assert "new.csv: no value of year, which rows are also made of" in caplog.text


def test_a_run_without_a_map_is_refused(path):
    (path / "checkpoints/cold_rows.pt").unlink()
    run = lightning_collab.load(path)
    assert NEVER_RATED in run.unseen_items["item"]
    with pytest.raises(CheckpointError, match="no map from features to rows"):
        add_items(run, pl.DataFrame({"item": [7], "year": [1999]}))


def test_rows_of_another_checkpoint_are_not_used(path):
    content = torch.load(path / "checkpoints/cold_rows.pt", weights_only=True)
    torch.save({**content, "steps": content["steps"] + 1}, path / "checkpoints/cold_rows.pt")
    assert lightning_collab.load(path).item_vocabulary.cold == 0


def test_a_file_of_rows_that_is_none_is_refused(path):
    (path / "checkpoints/cold_rows.pt").write_bytes(b"not a file of tensors")
    with pytest.raises(CheckpointError, match=r"cold_rows\.pt"):
        lightning_collab.load(path)


def test_the_command_adds_and_says_how_to_see_them(run_script, path, tmp_path):
    pl.DataFrame(NEW).write_csv(tmp_path / "new.csv")
    done = run_script("add_items.py", f"run={path}", f"items={tmp_path}/new.csv")
    assert done.returncode == 0, done.stderr
    assert "3 items added" in done.stdout
    shown = run_script("recommend.py", f"run={path}", "user=500", "new_items=only", "top_k=4")
    assert shown.returncode == 0, shown.stderr
    assert "A Drama" in shown.stdout
    again = run_script("add_items.py", f"run={path}", f"items={tmp_path}/new.csv")
    assert again.returncode == 1
    assert "item 7 already exists, and so are 2 more" in again.stderr

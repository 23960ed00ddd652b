"""scripts/recommend.py's job: tables on the terminal, files, ratings of one's own."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from support import CONF

from lightning_collab.commands.recommend import recommend_command
from lightning_collab.errors import ConfigError, DataError, NotFoundError
from lightning_collab.inference.fold_in import read_own_ratings


@pytest.fixture
def job(film_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("recommend", [f"run={film_run.directory.path}", *overrides])
        return recommend_command(config)

    return run


def test_a_user_is_shown_titles_ratings_and_reasons(job, trained, capsys):
    found = job("user=507", "top_k=3")
    assert found.equals(trained.recommend(user=507, top_k=3))
    shown = capsys.readouterr().out
    assert "for user 507" in shown
    assert found["title"][0][:12] in shown
    assert f"{found['prediction'][0]:.2f}" in shown
    reason = found["because_of"][0][0]
    assert f"({reason['rating']:g})" in shown


def test_everybody_goes_into_a_file(job, trained, capsys):
    assert job("user=all", "top_k=3", "output=all.parquet") is None
    assert pl.read_parquet("all.parquet").equals(trained.recommend_all(top_k=3))
    assert "60 users in" in capsys.readouterr().out
    job("user=all", "top_k=3", "output=all.csv", "seen=train")
    expected = trained.recommend_all(top_k=3, seen="train")
    assert pl.read_csv("all.csv")["item"].equals(expected["item"])


def test_several_users_have_a_table_each(job, trained, capsys):
    found = job("user=[507,501]", "top_k=3")
    assert found.equals(trained.recommend(user=[507, 501], top_k=3))
    shown = capsys.readouterr().out
    assert shown.index("for user 507") < shown.index("for user 501")
    assert all(title[:12] in shown for title in found["title"])
    job("user=[507,501]", "top_k=3", "output=two.csv")
    assert pl.read_csv("two.csv")["user"].to_list() == [507] * 3 + [501] * 3
    assert "6 recommendations for 2 users: two.csv" in capsys.readouterr().out


def test_one_recipient_goes_into_a_file(job, trained):
    job("user=507", "top_k=3", "output=one.csv")
    found, expected = pl.read_csv("one.csv"), trained.recommend(user=507, top_k=3)
    assert found["item"].equals(expected["item"])
    names = [each["title"] for each in expected["because_of"][0]]
    assert found["because_of"][0] == "|".join(names)


def test_a_new_person_by_ids_and_by_file(job, trained):
    expected = trained.recommend(ratings={11: 5, 12: 1.5, 20: 4}, top_k=3)
    assert job("ratings={11:5,12:1.5,20:4}", "top_k=3").equals(expected)
    for name, text in (
        ("ids.csv", "movieId,rating\n11,5\n12,1.5\n20,4\n1234,3\n"),
        ("titles.csv", "title,rating\nstar wars,5\nStar Trek (1979),1.5\nFilm 20,4\n"),
    ):
        Path(name).write_text(text)
        assert job(f"ratings={name}", "top_k=3").equals(expected)


def test_films_of_a_file_that_are_not_known_are_left_out_and_named(trained, tmp_path, caplog):
    path = tmp_path / "mine.csv"
    path.write_text("item,rating\n11,5\n" + "".join(f"{n},3\n" for n in range(1, 8)))
    assert read_own_ratings(trained, path) == {11: 5.0}
    assert "7 of 8 items are not known to the run and left out: 1, 2, 3, 4, 5, ..." in caplog.text
    caplog.clear()
    path.write_text("title,rating\nStra Wars,5\nheat,2\nstar wars,3\n")
    assert read_own_ratings(trained, path) == {11: 3.0}
    assert "Star Wars (1977)" in caplog.text
    assert "2 titles match 'heat'" in caplog.text


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", DataError, "the file is empty"),
        ("item,rating\n", DataError, "no rows"),
        ("item,marks\n1,2\n", DataError, "no column named rating or score or stars; it has 'item'"),
        ("name,rating\n1,2\n", DataError, "no column named item or .* or title"),
        ("item,rating\n11,good\n", DataError, "row 1 below the names: the rating is not a number"),
        ("item,rating\n1,2\n", NotFoundError, "none of the 1 items in column 'item'"),
        ("item,rating\n1,2,3\n", DataError, "cannot be read"),
    ],
)
def test_a_file_of_ratings_that_cannot_be_used_says_why(trained, tmp_path, text, error, message):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(error, match=message):
        read_own_ratings(trained, tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "give one of user, ratings and items"),
        (["user=1", "ratings={1:2}"], "give one of user, ratings and items"),
        (["user=all"], "user=all needs output"),
        (["user=507", "top_k=0"], "top_k: must be at least 1"),
        (["user=507", "top_k=47"], "top_k: 47 is not from 1 to 46"),
        (["user=all", "output=x.parquet", "top_k=47"], "top_k: 47 is not from 1 to 46"),
        (["user=507", "seen=some"], "seen"),
        (["user=507", "output=x.txt"], r"must end with \.csv"),
        (["ratings={11:bad}"], "ratings"),
        (["ratings={11:9}"], "9 of item 11 is not on the scale"),
    ],
)
def test_impossible_questions_are_refused_by_name(job, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        job(*overrides)
    assert not list(tmp_path.iterdir())


def test_titles_do_not_steer_the_terminal(job, trained, capsys, monkeypatch):
    nasty = trained.items.with_columns(
        title=pl.lit("[red]\x1b[31mred\x1b[0m") + pl.col("item").cast(pl.String),
        genres=pl.lit(["\x1b]0;owned\x07"]),
    )
    monkeypatch.setattr(
        "lightning_collab.commands.recommend.load",
        lambda run, checkpoint: replace(trained, items=nasty),
    )
    job("user=507", "top_k=3")
    shown = capsys.readouterr().out
    assert "\x1b[31m" not in shown
    assert "\x07" not in shown
    assert "[red]" in shown

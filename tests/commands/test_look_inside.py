"""The scripts as a person runs them, on a run directory alone."""

import dataclasses
import shutil

import polars as pl
import pytest
from film_runs import film_table
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from support import CONF

from lightning_collab.api.trained_run import load
from lightning_collab.commands.map_embeddings import map_embeddings_command
from lightning_collab.commands.report import report_command
from lightning_collab.commands.use_a_run import similar_command
from lightning_collab.errors import CheckpointError, ConfigError, InspectionError, NotFoundError
from lightning_collab.inspection.embeddings import side_embeddings


def config(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides))


@pytest.fixture(scope="module")
def path(film_run):
    return film_run.directory.path


def test_similar_films_share_their_genre(path, capsys):
    found = similar_command(config("similar", f"run={path}", "movie=star wars", "top_k=5"))
    assert len(found) == 5
    assert 11 not in found["item"]
    assert found["similarity"].is_sorted(descending=True)
    # Comedies, as it is: the made-up people like films of one genre only.
    assert all("Comedy" in genres for genres in found["genres"])
    assert "nearest to Star Wars (1977) by cosine" in capsys.readouterr().out


def test_similar_users_like_the_same_genre(path):
    found = similar_command(config("similar", f"run={path}", "user_id=500", "top_k=5"))
    assert all((user - 500) % 3 == 0 for user in found["user"])


def test_an_item_is_named_by_its_id_or_by_its_title(path):
    by_id = similar_command(config("similar", f"run={path}", "item=17"))
    assert by_id.equals(similar_command(config("similar", f"run={path}", "movie_id=17")))
    by_title = similar_command(config("similar", f"run={path}", 'item="Star Wars"'))
    assert by_title.equals(similar_command(config("similar", f"run={path}", "movie_id=11")))
    with pytest.raises(NotFoundError, match="there is no item nothing, and no title matches"):
        similar_command(config("similar", f"run={path}", "item=nothing"))
    with pytest.raises(NotFoundError, match="2 titles match 'heat'"):
        similar_command(config("similar", f"run={path}", "item=heat"))


def test_neighbors_have_the_ratings_that_are_asked_for(path):
    asked = ["movie_id=11", "min_ratings=40", "measure=dot"]
    found = similar_command(config("similar", f"run={path}", *asked))
    assert found["ratings"].min() >= 40
    with pytest.raises(InspectionError, match="lower min_ratings"):
        similar_command(config("similar", f"run={path}", "movie_id=11", "min_ratings=1000"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "give one of item, movie, movie_id, user_id"),
        (["movie=a", "movie_id=1"], "not movie and movie_id"),
        (["movie_id=1", "top_k=0"], "top_k"),
        (["movie_id=1", "measure=euclid"], "measure"),
    ],
)
def test_impossible_questions_are_refused_by_name(path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        similar_command(config("similar", f"run={path}", *overrides))


@pytest.mark.parametrize("name", ["similar", "map_embeddings"])
def test_a_run_must_be_named(name):
    job = {"similar": similar_command, "map_embeddings": map_embeddings_command}[name]
    with pytest.raises(ConfigError, match="run: set run="):
        job(config(name))


def test_an_unknown_film_is_not_found(path):
    with pytest.raises(NotFoundError, match="no item 1;"):
        similar_command(config("similar", f"run={path}", "movie_id=1"))


@pytest.mark.slow
def test_the_map_is_a_picture_and_a_page(path, tmp_path, capsys):
    asked = [f"run={path}", f"output={tmp_path}/maps", "min_ratings=1", "extremes=3"]
    picture, page = map_embeddings_command(config("map_embeddings", *asked))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "Star Wars (1977)" in page.read_text()
    assert "times chance" in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / "maps").iterdir()) == [
        "map_items_tsne.html",
        "map_items_tsne.png",
    ]


def test_too_few_points_make_no_map(path):
    with pytest.raises(InspectionError, match="too few for a map"):
        map_embeddings_command(config("map_embeddings", f"run={path}", "min_ratings=1000"))


def test_a_folder_that_cannot_be_written_is_named(path, tmp_path):
    (tmp_path / "file").write_text("")
    asked = [f"run={path}", "method=pca", f"output={tmp_path}/file", "min_ratings=1"]
    with pytest.raises(InspectionError, match="cannot write into"):
        map_embeddings_command(config("map_embeddings", *asked))


def test_a_model_without_embeddings_says_so():
    class NoEmbeddings:
        def effective_tables(self):
            return {}

    with pytest.raises(InspectionError, match="NoEmbeddings has no embeddings of items"):
        side_embeddings(NoEmbeddings(), "items")


def test_a_report_again_and_elsewhere(path, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lightning_collab.training.build.load_ratings", lambda data, **_: film_table(), raising=True
    )
    written = report_command(
        config("report", f"runs=[{path}]", f"output={tmp_path}/a/b.html", "map=pca")
    )
    assert written == tmp_path / "a" / "b.html"
    assert "Measured on the validation part" in written.read_text()
    both = report_command(config("report", f"runs=[{path},{path}]", f"output={tmp_path}/two.html"))
    assert "run (1)" in both.read_text()
    assert "Not measured" not in both.read_text()


@pytest.mark.parametrize("asked", [{"runs": [], "sweep": None}, {"runs": ["a"], "sweep": "b"}])
def test_a_report_is_of_runs_or_of_a_sweep(asked):
    asked = OmegaConf.create({**asked, "output": None, "map": None})
    with pytest.raises(ConfigError, match="either runs"):
        report_command(asked)


def test_a_sweep_is_a_key_of_the_report_and_not_a_group(tmp_path, run_script):
    found = run_script("report.py", f"sweep={tmp_path}/no-such-sweep")
    assert found.returncode == 1
    assert "no-such-sweep" in found.stderr
    assert "Could not override" not in found.stderr
    assert "Traceback" not in found.stderr


def test_a_report_needs_a_checkpoint(path, tmp_path):
    shutil.copytree(path, tmp_path / "copy", ignore=shutil.ignore_patterns("*.ckpt"))
    with pytest.raises(CheckpointError, match="no checkpoint"):
        report_command(config("report", f"runs=[{tmp_path}/copy]"))


def test_scripts_end_with_one_clear_line(path, run_script):
    found = run_script("similar.py", f"run={path}", 'movie="Godfather, The (1972)"', "top_k=3")
    assert found.returncode == 0, found.stderr
    assert "nearest to Godfather, The (1972)" in found.stdout
    missing = run_script("similar.py", f"run={path}", "movie=Stra Wars")
    assert missing.returncode == 1
    assert missing.stderr.splitlines() == [
        "error: no title matches 'Stra Wars'; the closest by spelling:",
        *missing.stderr.splitlines()[1:],
    ]
    assert missing.stderr.splitlines()[1] == "  Star Wars (1977)"
    assert "Traceback" not in missing.stderr


def test_a_title_cannot_steer_the_terminal(path, capsys, monkeypatch):
    run = load(path)
    titles = run.items["title"].to_list()
    titles[titles.index("Star Wars (1977)")] = "\x1b[2JStar Wars [red] (1977)"
    steering = dataclasses.replace(run, items=run.items.with_columns(title=pl.Series(titles)))
    monkeypatch.setattr("lightning_collab.commands.use_a_run.load", lambda *_: steering)
    similar_command(config("similar", f"run={path}", "movie=star wars", "top_k=5"))
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "[2JStar Wars [red]" in said

"""Use of a run on data without ratings: no word is said of ratings that there are not."""

import shlex

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from support import CONF, REPOSITORY

import lightning_collab
from lightning_collab.commands.recommend import recommend_command
from lightning_collab.commands.use_a_run import similar_command
from lightning_collab.errors import ConfigError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train

CLICKS = REPOSITORY / "docs/examples/clicks.csv"
PLAIN = ("callbacks.progress_bar=false", "callbacks.projector=null", "callbacks.report=null")


def trained_on(path, folder, run_config):
    small = ("trainer.max_epochs=2", "model.factors=8", "data.cache=false")
    config = run_config("experiment=clicks_example", f"data.path={path}", *PLAIN, *small)
    run = RunDirectory(folder / "run")
    train(config, run, data=load_data(config))
    return run.path


@pytest.fixture(scope="module")
def clicks(run_config, tmp_path_factory):
    return trained_on(CLICKS, tmp_path_factory.mktemp("clicks"), run_config)


def asked(command, name, path, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(name, [f"run={path}", *overrides])
    return command(config)


def pasted(message):
    """What the shell makes of the advice."""
    return shlex.split(message.partition("give ")[2])


def test_ratings_are_answered_with_the_items_to_paste(clicks):
    with pytest.raises(ConfigError, match="on data without ratings") as caught:
        asked(recommend_command, "recommend", clicks, "ratings={garden-01:5,travel-02:1}")
    assert pasted(str(caught.value)) == ["items=[garden-01,travel-02]"]
    found = asked(recommend_command, "recommend", clicks, *pasted(str(caught.value)), "top_k=3")
    run = lightning_collab.load(clicks)
    assert found.equals(run.recommend(items=["garden-01", "travel-02"], top_k=3))
    with pytest.raises(ConfigError, match="give 'items="):
        run.recommend(ratings={})


def test_ids_of_any_text_can_be_pasted(tmp_path, run_config):
    """Also what the shell and the grammar of overrides have uses for."""
    odd = ['mug, "it\'s"', "back\\slash\\", "007", "null", "Käse [x]", 'end\\"']
    frame = pl.read_csv(CLICKS)
    names = frame["item"].unique(maintain_order=True).head(len(odd)).to_list()
    file = tmp_path / "clicks.csv"
    frame.with_columns(pl.col("item").replace(names, odd)).write_csv(file)
    path = trained_on(file, tmp_path, run_config)
    run = lightning_collab.load(path)
    with pytest.raises(ConfigError) as caught:
        run.recommend(ratings=dict.fromkeys(odd, 5))
    found = asked(recommend_command, "recommend", path, *pasted(str(caught.value)), "top_k=3")
    assert found.equals(run.recommend(items=odd, top_k=3))


@pytest.mark.parametrize("query", ["user_id=p44", "movie_id=garden-01"])
def test_neighbors_have_interactions_and_no_mean_rating(clicks, query, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    found = asked(similar_command, "similar", clicks, query, "min_ratings=1", "top_k=3")
    assert found.columns[1:] == ["ratings", "similarity"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "training interactions; neighbors have at least 1" in shown
    assert "mean" not in shown
    assert str(found["ratings"][0]) in shown


def test_recommendations_count_interactions(clicks, capsys):
    asked(recommend_command, "recommend", clicks, "user=p44", "top_k=3")
    shown = capsys.readouterr().out
    assert "interactions" in shown
    assert "ratings" not in shown

"""The page as Streamlit runs it, without a server."""

import html
import re

import pytest
from film_runs import NASTY, film_table
from support import REPOSITORY

import lightning_collab
from lightning_collab.demo.catalog import Catalog, as_text
from lightning_collab.demo.server import PAGE
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train

testing = pytest.importorskip("streamlit.testing.v1", reason="needs lightning-collab[demo]")

PLAIN = ("callbacks.progress_bar=false", "callbacks.projector=null", "callbacks.report=null")


@pytest.fixture
def opened(monkeypatch):
    """The page of a run, and the run."""

    def page(path):
        run = lightning_collab.load(path)
        monkeypatch.setattr("sys.argv", [str(PAGE), str(path), str(run.checkpoint)])
        at = testing.AppTest.from_file(PAGE, default_timeout=60).run()
        assert not at.exception
        return at, Catalog.of(run)

    return page


def trained_on(run_config, folder, *overrides, table=None):
    config = run_config(*PLAIN, *overrides)
    run = RunDirectory(folder / "run")
    train(config, run, data=load_data(config, table))
    return run.path


@pytest.fixture(scope="module")
def ranked(run_config, tmp_path_factory):
    """A run by softmax on made-up films."""
    asked = ("loss=softmax", "loss.positives=4", "model.factors=8", "trainer.max_epochs=2")
    return trained_on(run_config, tmp_path_factory.mktemp("rank"), *asked, table=film_table())


@pytest.fixture(scope="module")
def clicks(run_config, tmp_path_factory):
    """A run on items without titles, that people clicked on."""
    asked = (
        "experiment=clicks_example",
        f"data.path={REPOSITORY / 'docs/examples/clicks.csv'}",
        *("trainer.max_epochs=2", "model.factors=8", "data.cache=false"),
    )
    return trained_on(run_config, tmp_path_factory.mktemp("clicks"), *asked)


def tables(at):
    """The first column of each table on the page."""
    cells = re.compile(r"<td[^>]*>(.*?)(?:<br>.*)?</td>\s*<td")
    return [list(map(html.unescape, cells.findall(each.value))) for each in at.get("html")]


def test_ratings_change_what_is_recommended(opened, film_run):
    at, catalog = opened(film_run.directory.path)
    assert len(tables(at)) == 1  # of neighbors
    assert "as soon as" in at.info[0].value
    first, second = catalog.first[:2]
    at.feedback(f"stars {first}").set_value(4).run()
    before = tables(at)[0]
    assert len(before) == 10
    assert catalog.names[first] not in before
    at.feedback(f"stars {second}").set_value(4).run()
    at.feedback(f"stars {first}").set_value(0).run()
    after = tables(at)[0]
    assert after != before
    assert not {catalog.names[first], catalog.names[second]} & {*after}
    ids = catalog.run.items["item"]
    found = catalog.run.recommend(ratings={ids[first]: 1, ids[second]: 5}, min_ratings=20)
    assert after == found["title"].str.replace(r"\s", " ").to_list()
    assert len(at.get("image")) == 1
    at.button[1].click().run()
    assert at.feedback(f"stars {first}").value is None
    assert len(tables(at)) == 1
    assert not at.exception


def test_an_item_that_is_searched_for_can_be_rated(opened, film_run):
    at, catalog = opened(film_run.directory.path)
    hidden = next(each for each in catalog.searched if each not in catalog.first[:8])
    shown = len(at.feedback)
    at.selectbox("search").select(hidden).run()
    assert at.selectbox("search").value is None
    at.feedback(f"stars {hidden}").set_value(4).run()
    assert len(at.feedback) == shown + 1
    assert at.text[0].value == catalog.names[hidden]
    assert catalog.names[hidden] not in tables(at)[0]
    at.button[0].click().run()
    assert len(at.feedback) > shown + 1
    assert at.feedback(f"stars {hidden}").value == 4


def test_neighbors_are_those_of_the_run(opened, film_run):
    at, catalog = opened(film_run.directory.path)
    item = catalog.names.index("Star Wars (1977)")
    at.selectbox[1].select(item).run()
    assert tables(at)[-1] == [
        title.replace("\t", " ") for title in catalog.run.similar(item=11)["title"]
    ]


def test_a_title_with_markup_is_shown_as_text(opened, film_run):
    at, catalog = opened(film_run.directory.path)
    nasty = catalog.names.index(NASTY)
    at.selectbox("search").select(nasty).run()
    assert at.text[0].value == NASTY
    at.feedback(f"stars {nasty}").set_value(4).run()
    shown = [each.value for each in at.get("html")]
    assert any("&lt;/script&gt;" in each for each in shown)
    for each in (*shown, *(each.value for each in at.markdown)):
        assert "<script>" not in each
        assert "<b>" not in each


def test_of_a_run_that_ranks_one_says_what_one_likes(opened, ranked):
    at, catalog = opened(ranked)
    assert not at.feedback
    nasty = catalog.names.index(NASTY)
    at.selectbox("search").select(nasty).run()
    assert at.checkbox[0].label == as_text(NASTY)
    at.checkbox[0].check().run()
    found = catalog.run.recommend(items=[13], min_ratings=20)
    assert tables(at)[0] == found["title"].str.replace(r"\s", " ").to_list()
    assert "score" in at.get("html")[0].value
    assert not at.exception


def test_items_without_titles_are_named_by_their_ids(opened, clicks):
    at, catalog = opened(clicks)
    chosen = catalog.first[0]
    assert at.checkbox[0].label == as_text(catalog.run.items["item"][chosen])
    at.checkbox[0].check().run()
    assert set(tables(at)[0]) <= {*catalog.run.items["item"]} - {catalog.names[chosen]}
    assert not at.exception

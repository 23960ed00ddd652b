"""A run to look at: its card, curves, map, pictures, and its export."""

from html.parser import HTMLParser

import polars as pl
import pytest
from frames import QUICK, ratings_frame

import lightning_collab as lc
from lightning_collab.errors import ConfigError, InspectionError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    overrides = {**QUICK, "logger": ["tensorboard"]}
    path = tmp_path_factory.mktemp("runs") / "run"
    return lc.train(ratings_frame(), factors=4, run_dir=path, overrides=overrides)


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "<i>ranker"
    return lc.train(ratings_frame(), loss="softmax", factors=4, run_dir=path, overrides=QUICK)


class Read(HTMLParser):
    """The text, and whether each tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.said = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        assert not {"color", "background-color"} & {each.strip() for each in styles(attrs)}
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


def styles(attrs):
    return [each.partition(":")[0] for each in (dict(attrs).get("style") or "").split(";")]


def test_the_card_of_ratings(run):
    html = run._repr_html_()
    assert len(html) < 3000
    read = Read(html)
    assert read.open == []
    said = " ".join(" ".join(read.said).split())
    for name, key in (
        ("embedding_dot_bias", "test/rmse"),
        ("user and item biases", "baseline/bias_rmse"),
        ("mean rating", "baseline/mean_rmse"),
    ):
        assert f"{run.metrics[key]:.4f}" in said.split(name)[-1], name
    assert "embedding_dot_bias , squared_error, on frame" in said
    assert "30 users, 20 items, 320 ratings trained on" in said


def test_the_card_of_rankings_is_escaped(ranker):
    html = ranker._repr_html_()
    assert len(html) < 3000
    read = Read(html)
    assert read.open == []
    said = " ".join(" ".join(read.said).split())
    assert "test NDCG@10" in said
    assert f"{ranker.metrics['test/ndcg@10']:.4f}" in said
    assert f"{ranker.metrics['baseline/ease/recall@10']:.4f}" in said
    assert "<i>" not in html
    assert "&lt;i&gt;ranker" in html


def test_a_run_that_was_stopped_has_a_card(run):
    metrics = run.path / "metrics.json"
    content = metrics.read_bytes()
    metrics.unlink()
    try:
        assert "No final numbers" in lc.load(run.path)._repr_html_()
        assert len(repr(lc.load(run.path))) < 400
    finally:
        metrics.write_bytes(content)


def test_in_one_line(run):
    assert "\n" not in repr(run)
    assert repr(run).startswith("TrainedRun(embedding_dot_bias, ")
    assert f"test RMSE {run.metrics['test/rmse']:.4f}" in repr(run)


def test_curves_are_what_was_logged(run):
    curves = run.curves()
    assert curves.schema == {"name": pl.String, "step": pl.Int64, "value": pl.Float64}
    validated = curves.filter(name="val/rmse")
    assert validated["step"].to_list() == [4, 9, 14]
    assert min(validated["value"]) == pytest.approx(run.metrics["val/rmse"], abs=1e-6)
    panels = run.figure("curves").axes
    assert [axes.get_ylabel() for axes in panels] == ["mean squared error", "error in rating units"]


def test_without_curves(frame):
    quiet = lc.train(frame, factors=2, overrides={**QUICK, "logger": "none"})
    assert quiet.curves().is_empty()
    assert quiet.curves().schema == {"name": pl.String, "step": pl.Int64, "value": pl.Float64}
    with pytest.raises(InspectionError, match="no curves were logged here"):
        quiet.figure("curves")


def test_the_map(run):
    found = run.map(method="pca", min_ratings=5)
    assert {"item", "ratings", "bias", "x", "y"} <= set(found.columns)
    assert found["x"].var() >= found["y"].var()
    assert (found["ratings"] >= 5).all()
    assert len(run.map("users", method="pca", min_ratings=0, max_points=7)) == 7


def test_figures_show_themselves(run):
    for figure in (run.figure(), run.figure("map", method="pca", min_ratings=5)):
        assert figure._repr_png_().startswith(b"\x89PNG")
        assert len(figure._repr_png_()) < 200_000


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda run: run.figure("kurves"), "show: there is no 'kurves'; did you mean 'curves'"),
        (lambda run: run.map("films"), "side: there is no 'films'"),
        (lambda run: run.map(method="tsen"), "method: there is no 'tsen'; did you mean 'tsne'"),
        (lambda run: run.map(max_points="a"), "max_points: must be a whole number"),
        (lambda run: run.export("onyx"), "format: there is no 'onyx'; did you mean 'onnx'"),
    ],
)
def test_what_there_is_not(run, ask, message):
    with pytest.raises(ConfigError, match=message):
        ask(run)


def test_an_export_is_that_of_the_command(run, tmp_path):
    folder = run.export("safetensors", tmp_path / "model")
    assert {each.name for each in folder.iterdir()} == {
        *("README.md", "model.safetensors", "vocabularies.json")
    }
    with pytest.raises(ConfigError, match="already exists"):
        run.export("safetensors", folder)
    assert run.export("safetensors", folder, overwrite=True) == folder


def test_ratings_of_a_source_by_its_name():
    ratings, users, items = lc.load_ratings("synthetic", ratings=500, timestamps=True)
    assert ratings.columns == ["user", "item", "rating", "timestamp"]
    assert ratings.schema["rating"] == pl.Float32
    assert len(ratings) == 500
    assert (users, items) == (None, None)
    with pytest.raises(ConfigError, match="no source 'ml_100'; did you mean 'ml_100k'"):
        lc.load_ratings("ml_100")
    with pytest.raises(ConfigError, match=r"data\.rot: unknown key; did you mean 'root'"):
        lc.load_ratings("ml_100k", rot="x")


def test_movielens_as_frames(ml_100k):
    ratings, users, films = lc.load_ratings()
    assert len(ratings) == 100_000
    assert ratings.row(0) == (196, 242, 3.0, 881250949)
    assert films.filter(item=50)["title"].to_list() == ["Star Wars (1977)"]
    assert len(users) == 943
    table = lc.RatingDataModule.from_frame(ratings, items=films).table
    assert (table.ratings == ml_100k.ratings).all()
    assert (table.users == ml_100k.users).all()

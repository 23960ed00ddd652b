import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from film_runs import NASTY, NEVER_RATED, QUICK, train_films
from matplotlib.colors import to_hex

import lightning_collab
from lightning_collab.inspection.comparison import compare, short_names, told_apart
from lightning_collab.inspection.embedding_map import embedding_map, map_picture
from lightning_collab.inspection.pages import PageTable, fact, render
from lightning_collab.inspection.run_report import metrics_rows, ranking_rows, run_report
from lightning_collab.runs.drawing import look_of


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.script, self.title = [], [], [], []
        self._in = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in = tag
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in in ("script", "title"):
            getattr(self, self._in).append(data)


@pytest.fixture(scope="module")
def report(film_run):
    return film_run.directory.report_file.read_text()


def test_a_report_loads_nothing_from_elsewhere(report):
    links = Page(report).links
    assert [link for link in links if not link.startswith(("data:", "#"))] == []
    assert "default-src 'none'" in report
    assert len([link for link in links if link.startswith("data:image/svg+xml")]) == 8


def test_a_report_shows_the_numbers_beside_the_baselines(report, film_run):
    for key in ("val/rmse", "test/rmse", "test/mae", "baseline/bias_rmse", "baseline/mean_rmse"):
        assert f"{film_run.metrics[key]:.4f}" in report
    assert "max_epochs: 7" in report
    for section in ("numbers", "curves", "errors", "map", "ends", "config"):
        assert f'id="{section}"' in report


def test_a_title_cannot_run_as_a_script(report):
    page = Page(report)
    assert NASTY not in report
    assert page.tags.count("script") == 2
    assert "b" not in page.tags
    assert page.title == ["embedding_dot_bias on ml_100k"]
    assert NASTY in json.loads(page.script[0])["names"]


def test_a_report_without_a_map_or_held_out_ratings(film_run):
    run = lightning_collab.load(film_run.directory.path)
    page = run_report(run, None, None)
    assert "Nothing was held out" in page
    assert 'id="map"' not in page


def test_baselines_stand_below_the_part_that_they_are_of():
    rows = metrics_rows({"val/rmse": 1.0, "test/rmse": 2.0, "baseline/mean_rmse": 3.0}, "model")
    assert rows == PageTable(
        ["", "val RMSE", "test RMSE"], [("model", 1.0, 2.0), ("mean rating", "", 3.0)]
    )
    assert metrics_rows({}, "model").rows == []


def test_a_missing_value_in_a_template_is_an_error():
    with pytest.raises(Exception, match="'title' is undefined"):
        render("map.html.j2")


def test_runs_side_by_side_show_what_differs(film_run, run_config, tmp_path):
    other = train_films(
        run_config(*QUICK, "model.factors=2", "seed=7", "callbacks.report=null"), tmp_path / "other"
    )
    runs = [lightning_collab.load(each.directory.path) for each in (film_run, other)]
    page = compare(runs)
    differences = page[page.index('id="differences"') : page.index('id="curves"')]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", differences)
    assert set(cells[0::3]) == {"seed", "model.factors", "callbacks.report.map", "callbacks.report"}
    assert cells[cells.index("model.factors") :][1:3] == ["8", "2"]
    for each in (film_run, other):
        assert f"{each.metrics['val/rmse']:.4f}" in page
    # The config names MovieLens, whose users these are not: said, and not drawn wrongly.
    assert "Not measured" in page


def test_names_of_runs_tell_them_apart(tmp_path):
    assert short_names([tmp_path / "a" / "x", tmp_path / "b" / "x"]) == ["a/x", "b/x"]
    assert short_names([tmp_path / "x", tmp_path / "x"]) == ["x (1)", "x (2)"]


def test_labels_of_the_picture_do_not_cover_one_another(film_run):
    run = lightning_collab.load(film_run.directory.path)
    figure = map_picture(embedding_map(run, "items", "pca"), labels=30)
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 5 < len(boxes) <= 30
    inside = axes.get_window_extent()
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert inside.x0 <= box.x0
        assert box.x1 <= inside.x1
    assert sum(len(each.get_offsets()) for each in axes.collections) == len(run.items)


def test_the_map_of_the_page_is_that_of_the_layout(film_run):
    run = lightning_collab.load(film_run.directory.path)
    drawn = embedding_map(run, "items", "pca", min_ratings=1)
    data = drawn.page_data()
    low, high = drawn.positions.min(axis=0), drawn.positions.max(axis=0)
    np.testing.assert_allclose(
        data["x"], (drawn.positions[:, 0] - low[0]) / (high - low)[0], atol=1e-4
    )
    np.testing.assert_allclose(
        1 - np.array(data["y"]), (drawn.positions[:, 1] - low[1]) / (high - low)[1], atol=1e-4
    )
    assert set(data["groups"]) == set(data["colors"]) == {"Drama", "Comedy", "Horror"}
    assert data["tags"][data["names"].index("Star Wars (1977)")] == ["Comedy", "Long"]


def test_a_point_known_by_features_alone_is_a_ring(film_run):
    run = lightning_collab.load(film_run.directory.path)
    drawn = embedding_map(run, "items", "pca", min_ratings=10)
    place = drawn.points["item"].to_list().index(NEVER_RATED)
    data = drawn.page_data()
    assert np.flatnonzero(data["cold"]).tolist() == [place]
    assert "known by features alone" in data["statistics"][place]
    assert "ratings" not in data["statistics"][place]
    legend = [text.get_text() for text in map_picture(drawn).legends[0].get_texts()]
    assert legend[-1] == "known by features alone (1)"
    # The lists of the best and the worst are of what was learned from ratings.
    for ends in drawn.ends(30):
        assert NEVER_RATED not in [*ends.top["item"], *ends.bottom["item"]]
    people = embedding_map(run, "users", "pca")
    assert not any(people.page_data()["cold"])
    assert "known_by" not in people.points.columns
    assert "features" not in map_picture(people).legends[0].get_texts()[-1].get_text()


def test_points_are_the_most_rated(film_run):
    run = lightning_collab.load(film_run.directory.path)
    drawn = embedding_map(run, "users", "pca", max_points=10)
    most = run.users["ratings"].sort(descending=True)[:10]
    assert sorted(drawn.points["ratings"], reverse=True) == most.to_list()
    assert "the most rated of 60" in drawn.title


def test_a_genre_has_one_look_in_every_picture(film_run):
    run = lightning_collab.load(film_run.directory.path)
    whole = embedding_map(run, "items", "pca")
    # Of these films Horror is the most frequent genre, and comes first.
    horror = np.array([group == "Horror" for group in whole.groups])
    few = replace(
        whole,
        positions=whole.positions[horror],
        points=whole.points.filter(horror),
        vectors=whole.vectors[horror],
    )
    pages = [each.page_data() for each in (whole, few)]
    for name in ("Drama", "Comedy", "Horror"):
        for data in pages:
            if name in data["colors"]:
                assert (data["colors"][name], data["marks"][name]) == look_of(name)
    assert list(pages[1]["colors"]) == ["Horror"]
    legend = map_picture(few).legends[0]
    assert legend.get_title().get_text() == "color and shape: first genre"
    drawn = map_picture(few).axes[0].collections[0]
    assert to_hex(drawn.get_facecolor()[0]) == look_of("Horror").color.lower()


def test_a_point_of_several_genres_says_all_and_which_gives_its_color(film_run):
    data = embedding_map(lightning_collab.load(film_run.directory.path), "items", "pca").page_data()
    hovered = data["statistics"][data["names"].index("Star Wars (1977)")]
    assert "Comedy, Long (color: Comedy)" in hovered
    assert data["legend"] == "color and shape: first genre"


def test_known_and_cold_pairs_have_rows_of_their_own():
    metrics = {"val/rmse": 1.0, "val/rmse_warm": 0.9, "val/rmse_cold": 1.2}
    rows = metrics_rows(metrics, "model").rows
    assert rows == [
        ("model", 1.0), ("warm: known users and items", 0.9), ("cold: one without ratings", 1.2)
    ]  # fmt: skip
    assert len(metrics_rows({"val/rmse": 1.0, "val/rmse_warm": 1.0}, "model").rows) == 1


def test_rankings_stand_beside_their_baselines(film_run, tmp_path):
    shutil.copytree(film_run.directory.path, tmp_path / "run")
    run = lightning_collab.load(tmp_path / "run")
    assert 'id="rankings"' not in run_report(run, None, None)
    measured = {
        "test/ndcg@10": 0.25,
        "test/coverage@10": 0.5,
        "test/mean_popularity@10": 12.34,
        "baseline/most_popular/ndcg@10": 0.125,
    }
    table = ranking_rows(measured)
    assert table.header == ["", "test", "most popular"]
    assert table.rows == [
        ("NDCG@10", "0.2500", "0.1250"),
        ("coverage@10", "50.0%", None),
        ("popularity@10", "12.3", None),
    ]
    run.directory.write_metrics(run.metrics | measured)
    run = lightning_collab.load(tmp_path / "run")
    page = run_report(run, None, None)
    assert page.index('id="rankings"') < page.index("most popular") < page.index('id="curves"')
    # It is a run of ratings all the same.
    assert "errors in rating units" in page


def test_numbers_have_the_digits_that_mean_something(report):
    assert fact("fit_seconds", 30.868) == "30.9 s"
    assert fact("train_ratings_per_second", 7775.2) == "7,775"
    assert fact("peak_rss_bytes", 792535040) == "756 MiB"
    assert fact("seed", 1234) == "1234"
    assert fact("epochs", 3) == 3
    residuals = report[report.index("residuals (predicted minus actual)") :]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", residuals)
    assert cells[:20:4] == ["1", "2", "3", "4", "5"]


def test_runs_are_named_by_what_differs():
    one = {"model": {"name": "a", "x": 1}, "optimizer": {"lr": 0.1}, "seed": 1, "callbacks": 1}
    faster = one | {"optimizer": {"lr": 0.01}, "callbacks": 2}
    assert told_apart([one, faster], ["1", "2"]) == ["lr 0.1", "lr 0.01"]
    other = one | {"model": {"name": "b", "x": 2}}
    assert told_apart([one, other], ["1", "2"]) == ["model a", "model b"]
    assert told_apart([one, one], ["1", "2"]) == ["1", "2"]
    assert told_apart([one, one, faster], ["1", "2", "3"]) == [
        "lr 0.1 (1)", "lr 0.1 (2)", "lr 0.01"
    ]  # fmt: skip


def test_a_name_of_a_run_cannot_run_as_a_script():
    page = render(
        "comparison.html.j2",
        title="t",
        numbers=PageTable(["run"], [(NASTY,)]),
        measured_by=NASTY,
        best=None,
        directories=PageTable(["run"], [(NASTY,)]),
        differences=PageTable([NASTY], []),
        curves=[],
        errors=[],
        missing=[NASTY],
    )
    assert NASTY not in page
    assert "<b>" not in page

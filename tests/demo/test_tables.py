import dataclasses
from types import SimpleNamespace

import polars as pl
import pytest

from lightning_collab.demo.tables import (
    Row,
    check_somebody_new,
    recommended,
    recommended_rows,
    similar_rows,
    table_html,
)
from lightning_collab.errors import NotFoundError


def test_rows_have_the_prediction_in_rating_units_and_the_reasons(trained):
    found = recommended(trained, {11: 5.0, 12: 1.0}, 0)
    assert found.equals(trained.recommend(ratings={11: 5.0, 12: 1.0}))
    rows = recommended_rows(found)
    assert [row.name for row in rows] == found["title"].str.replace(r"\s", " ").to_list()
    assert [row.number for row in rows] == [f"{each:.2f}" for each in found["prediction"]]
    assert rows[0].below == ", ".join(found["genres"][0])
    assert "Star Wars (5)" in {row.further for row in rows}


def test_what_is_recommended_has_the_ratings_that_are_asked_for(trained):
    least = int(trained.items["ratings"].max()) - 3
    assert recommended(trained, {11: 5.0}, least)["ratings"].min() >= least


def test_without_titles_and_genres_a_row_has_the_id(trained):
    bare = dataclasses.replace(trained, items=trained.items.drop("title", "genres"))
    found = recommended(bare, {11: 5.0}, 0)
    assert [row.name for row in recommended_rows(found)] == [str(each) for each in found["item"]]
    assert {row.below for row in recommended_rows(found)} == {""}


def test_neighbors_have_similarity_and_ratings(trained):
    found = trained.similar(item=11, top_k=3)
    assert similar_rows(found)[0].number == f"{found['similarity'][0]:.2f}"
    assert similar_rows(found)[0].further == str(found["ratings"][0])
    one = found.with_columns(genres=pl.lit("Comedy"))
    assert similar_rows(one)[0].below == "Comedy"


def test_all_text_of_a_table_is_text():
    written = table_html(["item", "score", "because of"], [Row("<b>a</b>", "&", "1", "<i>")])
    assert "&lt;b&gt;a&lt;/b&gt;" in written
    assert "&amp;" in written
    assert "&lt;i&gt;" in written
    assert "<b>" not in written


def test_a_run_that_knows_nothing_of_somebody_new_is_refused(trained):
    check_somebody_new(trained)
    without_factors = dataclasses.replace(trained)
    vars(without_factors)["item_scores"] = SimpleNamespace(tables={})
    with pytest.raises(NotFoundError, match="it cannot learn about a fold-in user"):
        check_somebody_new(without_factors)

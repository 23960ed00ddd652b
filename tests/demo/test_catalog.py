import dataclasses

import polars as pl
import pytest
import torch

from lightning_collab.demo.catalog import WELL_KNOWN, Catalog, as_text


@pytest.fixture(scope="module")
def catalog(trained):
    return Catalog.of(trained)


def test_names_are_titles_and_each_is_different(catalog, trained):
    ids = trained.items["item"].to_list()
    assert catalog.names[ids.index(17)] == "Heat (1986)"
    assert catalog.names[ids.index(15)] == "Twice (1997) [15]"
    assert catalog.names[ids.index(16)] == "Twice (1997) [16]"
    assert catalog.names[ids.index(14)] == "A tab (1980)"
    assert len(set(catalog.names)) == len(ids)


def test_without_titles_names_are_ids(trained):
    bare = dataclasses.replace(trained, items=trained.items.drop("title"))
    assert Catalog.of(bare).names == [str(each) for each in trained.items["item"]]


def test_the_most_rated_come_first_and_those_without_ratings_not_at_all(catalog, trained):
    counts = trained.items["ratings"].gather(catalog.searched)
    assert counts.is_sorted(descending=True)
    assert counts.min() > 0
    assert len(counts) == (trained.items["ratings"] > 0).sum()


def test_each_item_to_begin_with_is_unlike_those_before_it(catalog, trained):
    first = catalog.first
    assert first[0] == catalog.searched[0]
    assert sorted(first) == sorted(catalog.searched[:WELL_KNOWN])
    vectors = trained.model.embedding_tables()["items"][first]
    cosines = torch.nn.functional.normalize(vectors, dim=1)
    cosines = cosines @ cosines.T
    for place in range(1, len(first)):
        nearest = cosines[place:, :place].max(1).values
        assert nearest[0] == pytest.approx(float(nearest.min()), abs=1e-5)


@pytest.mark.parametrize(
    ("scale", "stars"),
    [
        ((1.0, 5.0), [1, 2, 3, 4, 5]),
        ((0.5, 5.0), [1, 2, 3, 4, 5]),
        ((-10.0, 10.0), [-10, -5, 0, 5, 10]),
    ],
)
def test_stars_stand_for_ratings_of_the_scale(trained, scale, stars):
    assert Catalog.of(dataclasses.replace(trained, rating_range=scale)).stars == stars


def test_how_many_ratings_are_enough_follows_the_data(catalog, trained):
    assert catalog.enough_ratings == 20
    assert catalog.well_rated == len(catalog.searched)
    few = trained.items.with_columns(ratings=pl.lit(3))
    assert Catalog.of(dataclasses.replace(trained, items=few)).enough_ratings == 3


def test_text_for_markdown_has_no_marks_left():
    assert as_text("*a* <b>:red[x] $y$ `z`") == (r"\*a\* \<b\>\:red\[x\] \$y\$ \`z\`")
    assert as_text("Film 7\n\x1b") == "Film 7 \ufffd"

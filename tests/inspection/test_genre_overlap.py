import itertools

import numpy as np
import polars as pl
import pytest
import torch

from lightning_collab.inspection.neighbors import GenreOverlap


def frame(genres, ratings=None):
    return pl.DataFrame(
        {"genres": genres, "ratings": ratings or [100] * len(genres)},
        schema_overrides={"genres": pl.List(pl.String)},
    )


def jaccard(one, two):
    return len(set(one) & set(two)) / len(set(one) | set(two))


def test_the_figure_is_the_mean_over_all_neighbors_found_one_at_a_time():
    random = np.random.default_rng(3)
    names = np.array(["a", "b", "c", "d"])
    genres = [
        sorted(random.choice(names, size=random.integers(1, 4), replace=False)) for _ in range(40)
    ]
    vectors = random.normal(size=(40, 5))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shared = []
    for film in range(40):
        order = np.argsort(-(unit @ unit[film]))
        others = [other for other in order if other != film][:3]
        shared += [jaccard(genres[film], genres[other]) for other in others]
    measured = GenreOverlap(frame(genres), neighbors=3).of(torch.from_numpy(vectors))
    assert measured.nearest == pytest.approx(np.mean(shared), abs=1e-6)
    pairs = [jaccard(*pair) for pair in itertools.combinations(genres, 2)]
    assert measured.chance == pytest.approx(np.mean(pairs), abs=1e-6)
    assert measured.films == 40


def test_embeddings_that_know_the_genres_reach_one():
    genres = [["a"], ["b"]] * 12
    vectors = torch.eye(2).repeat(12, 1) + 0.01 * torch.randn(24, 2)
    measured = GenreOverlap(frame(genres)).of(vectors)
    assert measured.nearest == 1.0
    # 11 of the 23 others have the same genre.
    assert measured.chance == pytest.approx(11 / 23)
    assert measured.ratio == pytest.approx(23 / 11)


def test_embeddings_that_know_nothing_are_at_chance():
    generator = torch.Generator().manual_seed(0)
    genres = [["a"], ["b"], ["a", "b"], ["c"]] * 300
    measured = GenreOverlap(frame(genres)).of(torch.randn(1200, 8, generator=generator))
    assert measured.ratio == pytest.approx(1, abs=0.03)


def test_films_with_few_ratings_or_no_genre_do_not_count():
    genres = [["a"]] * 15 + [["b"]] * 5 + [[]] * 5 + [None]
    ratings = [20] * 15 + [19] * 5 + [500] * 6
    measured = GenreOverlap(frame(genres, ratings)).of(torch.randn(26, 4))
    assert measured.films == 15
    assert measured.nearest == 1.0


def test_too_few_films_or_no_genres_at_all_are_not_measured():
    assert not GenreOverlap(frame([["a"]] * 10)).possible
    assert GenreOverlap(frame([["a"]] * 11)).possible
    assert not GenreOverlap(pl.DataFrame({"ratings": [100] * 50})).possible

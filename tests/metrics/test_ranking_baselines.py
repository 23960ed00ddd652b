"""Most popular, item-kNN and EASE: by hand, by dense algebra, and on real data."""

import json
import logging

import numpy as np
import pytest
import torch

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.ranking_batches import Choices
from lightning_collab.errors import DataError
from lightning_collab.metrics import ranking_baselines as module
from lightning_collab.metrics.ranking_baselines import (
    MostPopular,
    chosen_matrix,
    ease,
    item_knn,
    ranking_baselines,
)

USERS, ITEMS = 12, 9
SPLIT = {"name": "random", "test": 0.2, "val": 0.2, "seed": 1}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_COLLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rankings"


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "SIMILARITIES_AT_A_TIME", 2 * ITEMS)


def made_up(seed=0, users=USERS):
    dense = (np.random.default_rng(seed).random((users + 1, ITEMS)) < 0.4).astype(np.float64)
    dense[0] = 0
    users, items = np.nonzero(dense)
    chosen = Choices.of(
        users.astype(np.int32),
        (items + 1).astype(np.int32),
        user_rows=len(dense),
        item_rows=ITEMS + 1,
    )
    return dense, chosen


def scores_of(scorer, users=range(1, USERS + 1)):
    return scorer.of_users(torch.tensor(list(users), dtype=torch.int32)).numpy()


def test_most_popular_counts_users():
    dense, chosen = made_up()
    scorer = MostPopular(chosen)
    assert scorer.items == ITEMS
    memory = torch.empty(2, ITEMS)
    found = scorer.of_users(torch.tensor([3, 5], dtype=torch.int32), memory)
    assert found.tolist() == [dense.sum(0).tolist()] * 2
    # What is left out of one ranking is not left out of the next.
    found[:] = -torch.inf
    assert scores_of(scorer, [3]).tolist() == [dense.sum(0).tolist()]


@pytest.mark.parametrize("neighbors", [2, 8, 9, 200])
def test_item_knn_is_that_of_dense_algebra(neighbors, small_blocks):
    dense, chosen = made_up(1, users=200)
    lengths = np.sqrt(dense.sum(0))
    cosine = dense.T @ dense / np.outer(lengths, lengths)
    np.fill_diagonal(cosine, 0)
    expected = np.zeros_like(dense)
    for item in range(ITEMS):
        nearest = np.sort(cosine[item])[::-1][: min(neighbors, ITEMS)]
        kept = np.where(cosine[item] >= nearest[-1], cosine[item], 0)
        assert neighbors > 2 or np.count_nonzero(kept) == 2, "no ties at the edge in this case"
        expected[:, item] = dense @ kept
    found = scores_of(item_knn(chosen_matrix(chosen), neighbors), range(1, 201))
    np.testing.assert_allclose(found, expected[1:], rtol=1e-5)


def test_of_equally_similar_items_the_first_are_neighbors():
    """Whatever the processor: everybody chose the first five items, somebody else the last one."""
    users, items = np.nonzero(np.ones((3, 5)))
    chosen = Choices.of(
        np.append(users + 1, 4).astype(np.int32),
        np.append(items + 1, 6).astype(np.int32),
        user_rows=5,
        item_rows=7,
    )
    weights = item_knn(chosen_matrix(chosen), 2).weights.toarray()
    neighbors = [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1], []]
    assert [np.nonzero(column)[0].tolist() for column in weights.T] == neighbors
    assert weights.sum() == pytest.approx(10)


def test_an_item_that_nobody_chose_has_no_neighbors():
    chosen = Choices.of(
        np.array([1, 1], np.int32), np.array([1, 2], np.int32), user_rows=2, item_rows=4
    )
    for scorer in (item_knn(chosen_matrix(chosen)), ease(chosen_matrix(chosen), 1.0)):
        scores = scores_of(scorer, [1])
        assert np.isfinite(scores).all()
        assert scores[0, 2] == 0


@pytest.mark.parametrize("penalty", [0.5, 20.0])
def test_ease_is_the_best_autoencoder_without_a_diagonal(penalty, small_blocks):
    """Each column is the ridge regression of an item on all others."""
    dense, chosen = made_up(2)
    expected = np.zeros_like(dense)
    for item in range(ITEMS):
        others = np.arange(ITEMS) != item
        x = dense[:, others]
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(ITEMS - 1), x.T @ dense[:, item])
        expected[:, item] = x @ weights
    found = scores_of(ease(chosen_matrix(chosen), penalty))
    np.testing.assert_allclose(found, expected[1:], rtol=1e-3, atol=1e-5)


def of_small(small_table, split=SPLIT, **options):
    data = RatingDataModule(small_table, split=split)
    settings = {"positives": 3.0, "liked": 4.0, "top_k": [3, 5], "seed": 1, **options}
    return ranking_baselines(data, **settings)


def test_names(small_table):
    found = of_small(small_table)
    names = {
        f"baseline/{who}/{what}@{k}"
        for who in ("most_popular", "item_knn", "ease")
        for what in (
            [
                "ndcg",
                "recall",
                "precision",
                "mrr",
                "hit_rate",
                "map",
                "coverage",
                "mean_popularity",
                "gini",
            ]
        )
        for k in (3, 5)
    }
    assert found.keys() == names | {"baseline/ease/penalty"}


def test_a_second_call_reads_what_the_first_has_kept(small_table, cache, monkeypatch):
    first = of_small(small_table)
    (file,) = cache.iterdir()
    for scorer in ("MostPopular", "item_knn", "ease"):
        monkeypatch.delattr(module, scorer)
    assert of_small(small_table) == first
    assert json.loads(file.read_text()) == first


@pytest.mark.parametrize(
    "change",
    [
        {"positives": 4.0},
        {"liked": 3.0},
        {"top_k": [3, 6]},
        {"seed": 2},
        {"part": "val"},
        {"split": {**SPLIT, "seed": 2}},
        {"split": {**SPLIT, "val": 0.3}},
    ],
)
def test_what_the_numbers_follow_from_is_part_of_their_name(small_table, cache, change):
    of_small(small_table)
    of_small(small_table, **change)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("content", ["", '{"baseline/most', "[1]", "{}", '{"baseline/a": null}'])
def test_a_broken_file_is_computed_again(small_table, cache, content, caplog):
    first = of_small(small_table)
    (file,) = cache.iterdir()
    file.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert of_small(small_table) == first
    assert "cannot be read" in caplog.text
    assert json.loads(file.read_text()) == first


def test_a_cache_that_cannot_be_written_is_no_failure(small_table, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIGHTNING_COLLAB_CACHE", str(tmp_path / "file"))
    assert "baseline/ease/ndcg@3" in of_small(small_table)
    assert "cannot be kept" in caplog.text


def test_the_penalty_of_ease_is_chosen_on_the_validation_part(small_table, monkeypatch):
    """Never on the part that is measured: without another, it is the usual one."""
    tried = []
    original = module.ease
    monkeypatch.setattr(
        module, "ease", lambda matrix, penalty: tried.append(penalty) or original(matrix, penalty)
    )
    of_small(small_table, part="val")
    assert tried == [400.0]
    tried.clear()
    found = of_small(small_table)
    assert tried == [100.0, 200.0, 400.0, 800.0]
    by_penalty = {}
    for penalty in list(tried):
        monkeypatch.setattr(module, "EASE_PENALTY", penalty)
        by_penalty[penalty] = of_small(small_table, part="val")["baseline/ease/ndcg@3"]
    assert by_penalty[found["baseline/ease/penalty"]] == max(by_penalty.values())


def test_ease_is_left_out_where_the_catalogue_is_too_large(small_table, monkeypatch):
    monkeypatch.setattr(module, "EASE_ITEMS", 19)
    found = of_small(small_table)
    assert "baseline/item_knn/ndcg@3" in found
    assert not any("ease" in name for name in found)


def test_what_cannot_be_measured_is_refused_before_anything_is_fitted(small_table, monkeypatch):
    monkeypatch.delattr(module, "item_knn")
    with pytest.raises(DataError, match="top_k=21 is more than the 20 items"):
        of_small(small_table, top_k=[21])
    with pytest.raises(DataError, match="test part has no rating of 6 or more"):
        of_small(small_table, liked=6.0)
    with pytest.raises(DataError, match="no rating is 7 or more"):
        of_small(small_table, positives=7.0)


def test_movielens_100k(ml_100k):
    """Four stars or more, the default split."""
    data = RatingDataModule(ml_100k)
    found = ranking_baselines(data, positives=4.0, liked=4.0, top_k=[10])
    assert found["baseline/most_popular/ndcg@10"] == pytest.approx(0.1399, abs=5e-4)
    assert found["baseline/item_knn/ndcg@10"] == pytest.approx(0.2636, abs=5e-4)
    assert found["baseline/ease/ndcg@10"] == pytest.approx(0.2926, abs=5e-4)
    assert found["baseline/ease/penalty"] == 400

import logging
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from lightning_collab.errors import InspectionError
from lightning_collab.inspection import layout
from lightning_collab.inspection.layout import chosen_method, extremes, plane, principal_components


def clusters(count=90, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = 3 * np.eye(3, 6)
    return (centres[labels] + 0.3 * random.normal(size=(count, 6))).astype(np.float32), labels


def test_principal_components_are_scikit_learns_up_to_sign():
    vectors, _ = clusters()
    ours, theirs = principal_components(vectors, 3), PCA(3).fit_transform(vectors)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-4)
    np.testing.assert_array_equal(ours, principal_components(vectors, 3))


@pytest.mark.parametrize(
    "method",
    ["tsne", "pca", pytest.param("umap", marks=pytest.mark.slow)],  # numba compiles it
)
def test_what_is_near_stays_near(method):
    if method == "umap":
        pytest.importorskip("umap")
    vectors, labels = clusters()
    positions = plane(vectors, method, seed=1)
    assert positions.shape == (90, 2)
    np.testing.assert_allclose(positions.mean(axis=0), 0, atol=1e-6)
    assert positions[:, 0].std() >= positions[:, 1].std()
    nearest = KNeighborsClassifier(4).fit(positions, labels)
    assert nearest.score(positions, labels) > 0.95


def test_the_same_seed_gives_the_same_map():
    vectors, _ = clusters()
    one, two = (plane(vectors, "tsne", seed=5, iterations=50) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_few_points_and_zero_vectors_are_laid_out():
    vectors = np.zeros((4, 3), dtype=np.float32)
    vectors[0] = 1
    assert np.isfinite(plane(vectors, "tsne")).all()
    assert np.isfinite(plane(vectors, "pca")).all()


def test_two_points_make_no_map():
    with pytest.raises(InspectionError, match="at least 3 points"):
        plane(np.ones((2, 4), np.float32), "pca")


def test_without_umap_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InspectionError, match=r"pip install 'lightning-collab\[umap\]'"):
        plane(clusters()[0], "umap")


def test_extremes_are_the_ends_of_bias_and_components():
    random = np.random.default_rng(0)
    # One direction dominates: along it rows are in their own order.
    vectors = np.outer(np.arange(30), [3.0, -1.0, 0.0]) + 0.01 * random.normal(size=(30, 3))
    biases = -np.arange(30).astype(np.float32)
    frame = pl.DataFrame({"name": [f"row {n}" for n in range(30)]})
    bias, first, *_ = extremes(frame, vectors.astype(np.float32), biases, count=3)
    assert bias.name == "bias"
    assert bias.top["name"].to_list() == ["row 0", "row 1", "row 2"]
    assert bias.bottom["value"].to_list() == [-29, -28, -27]
    assert first.top["name"].to_list() == ["row 29", "row 28", "row 27"]
    assert first.bottom["name"].to_list() == ["row 0", "row 1", "row 2"]
    assert extremes(frame, vectors.astype(np.float32), None)[0].name == "principal component 1"


def test_no_row_is_at_both_ends():
    frame = pl.DataFrame({"name": list("abcde")})
    ends = extremes(frame, np.eye(5, 4, dtype=np.float32), None, count=10)[0]
    assert len(ends.top) == 2
    assert not set(ends.top["name"]) & set(ends.bottom["name"])


def test_auto_is_tsne_where_there_is_one_and_else_pca_with_a_word(monkeypatch, caplog):
    assert chosen_method("auto") == "tsne"
    assert chosen_method("umap") == "umap"
    monkeypatch.setattr(layout, "find_spec", lambda name: None)
    with caplog.at_level(logging.INFO, "lightning_collab"):
        assert chosen_method("auto") == "pca"
    assert "pip install 'lightning-collab[tsne]'" in caplog.text


def test_tsne_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(InspectionError, match=r"pip install 'lightning-collab\[tsne\]'"):
        plane(clusters()[0], "tsne")

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_collab.errors import InspectionError
from lightning_collab.inspection.neighbors import CHUNK, nearest


def by_hand(vectors, query, measure, among):
    """One pair at a time, in double precision."""
    scores = []
    for other in range(len(vectors)):
        if other == query or not among[other]:
            continue
        score = float(np.dot(vectors[query], vectors[other]))
        if measure == "cosine":
            lengths = np.linalg.norm(vectors[query]) * np.linalg.norm(vectors[other])
            score = score / lengths if lengths else 0.0
        scores.append(score)
    return sorted(scores, reverse=True)


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(3, 30),
    k=st.integers(1, 40),
    measure=st.sampled_from(["cosine", "dot"]),
    everyone=st.booleans(),
)
def test_neighbors_are_those_found_one_pair_at_a_time(seed, rows, k, measure, everyone):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(rows, 4))
    among = np.ones(rows, dtype=bool) if everyone else random.random(rows) < 0.5
    among[:2] = True
    queries = torch.arange(rows)
    found = nearest(
        torch.from_numpy(vectors),
        queries,
        k,
        measure=measure,
        among=None if everyone else torch.from_numpy(among),
    )
    for query in range(rows):
        expected = by_hand(vectors, query, measure, among)[: found.rows.shape[1]]
        np.testing.assert_allclose(found.similarities[query], expected, atol=1e-9)
        assert query not in found.rows[query]
        assert among[found.rows[query].numpy()].all()
        assert len(set(found.rows[query].tolist())) == found.rows.shape[1]


def test_more_queries_than_a_chunk_give_the_same():
    vectors = torch.randn(CHUNK + 50, 3, generator=torch.Generator().manual_seed(0))
    whole = nearest(vectors, torch.arange(len(vectors)), 5).rows
    assert torch.equal(whole[-50:], nearest(vectors, torch.arange(CHUNK, CHUNK + 50), 5).rows)


def test_a_zero_vector_is_like_no_other():
    vectors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1]])
    assert nearest(vectors, torch.tensor([0]), 2).similarities.tolist() == [[0.0, 0.0]]
    assert nearest(vectors, torch.tensor([1]), 2).rows.tolist() == [[2, 0]]


def test_no_one_else_is_an_error():
    with pytest.raises(InspectionError, match="lower min_ratings"):
        nearest(torch.randn(3, 2), torch.tensor([0]), 1, among=torch.tensor([True, False, False]))

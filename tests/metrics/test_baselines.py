import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from lightning_collab.metrics.baselines import BiasBaseline


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 20))
def test_the_biases_are_those_of_a_ridge_regression(seed, penalty):
    random = np.random.default_rng(seed)
    users, items = random.integers(0, 6, 50), random.integers(0, 8, 50)
    ratings = random.integers(1, 6, 50).astype(np.float32)
    fitted = BiasBaseline.fit(users, items, ratings, user_rows=6, item_rows=8, penalty=penalty)
    rows = np.arange(50)
    design = scipy.sparse.hstack(
        [
            scipy.sparse.csr_array((np.ones(50), (rows, users)), shape=(50, 6)),
            scipy.sparse.csr_array((np.ones(50), (rows, items)), shape=(50, 8)),
        ]
    ).toarray()
    ridge = Ridge(alpha=penalty, fit_intercept=False).fit(design, ratings - ratings.mean())
    assert np.allclose(
        fitted.predict(users, items), ridge.predict(design) + ratings.mean(), atol=1e-4
    )


def test_who_has_no_ratings_has_no_bias():
    fitted = BiasBaseline.fit(
        np.array([1, 1]), np.array([1, 2]), np.array([2.0, 4.0]), user_rows=3, item_rows=3
    )
    assert fitted.mean == 3.0
    assert fitted.predict(np.array([0]), np.array([0])).tolist() == [3.0]
    # One rating 1 below the mean under a penalty of 5: -1 / (1 + 5), nothing left for the user.
    assert fitted.item_bias[1] == pytest.approx(-1 / 6)


def test_a_larger_penalty_shrinks_the_biases():
    random = np.random.default_rng(0)
    columns = random.integers(0, 6, 50), random.integers(0, 8, 50), random.normal(size=50)
    small, large = (
        BiasBaseline.fit(*columns, user_rows=6, item_rows=8, penalty=penalty)
        for penalty in (1.0, 50.0)
    )
    assert np.abs(large.item_bias).max() < np.abs(small.item_bias).max()

import numpy as np
import pytest

from lightning_collab.data.sources import synthetic
from lightning_collab.errors import DataError
from lightning_collab.metrics.baselines import BiasBaseline


@pytest.fixture
def draw(run_config):
    def drawn(*overrides):
        return synthetic.draw(run_config("data=synthetic", *overrides).data)

    return drawn


@pytest.mark.parametrize("ratings", [1000, 20_000, 300_000])
def test_as_many_distinct_ratings_as_asked_for(draw, ratings):
    table, _ = draw(f"data.ratings={ratings}")
    assert len(table) == ratings
    pairs = table.users.astype(np.int64) * len(table.item_vocabulary) + table.items
    assert len(np.unique(pairs)) == ratings
    assert table.users.min() >= 1
    assert table.users.max() < len(table.user_vocabulary)
    assert table.items.min() >= 1
    assert table.items.max() < len(table.item_vocabulary)
    assert set(np.unique(table.ratings)) <= set(np.arange(1, 11) / 2)
    assert (table.users.dtype, table.items.dtype, table.ratings.dtype) == (
        np.int32,
        np.int32,
        np.float32,
    )


def test_the_seed_decides(draw):
    one, two, other = draw()[0], draw()[0], draw("data.seed=1")[0]
    for column in ("users", "items", "ratings"):
        assert np.array_equal(getattr(one, column), getattr(two, column))
    assert not np.array_equal(one.ratings, other.ratings)


def test_ratings_are_the_truth_and_noise(draw):
    table, truth = draw(
        "data.ratings=200000",
        "data.step=0",
        "data.bias_scale=0.1",
        "data.noise=0.3",
        "data.factor_scale=0.2",
    )
    errors = table.ratings - truth.expected(table.users, table.items)
    inside = (table.ratings > 0.5) & (table.ratings < 5)
    assert inside.mean() > 0.99
    assert errors[inside].std() == pytest.approx(0.3, rel=0.02)
    assert errors[inside].mean() == pytest.approx(0, abs=0.01)
    signal = np.einsum("nk,nk->n", truth.user_factors[table.users], truth.item_factors[table.items])
    assert signal.std() == pytest.approx(0.2, rel=0.1)
    assert truth.user_bias[1:].std() == pytest.approx(0.1, rel=0.1)


def test_without_noise_and_factors_the_biases_are_found(draw):
    table, truth = draw("data.noise=0", "data.factors=0", "data.step=0", "data.bias_scale=0.2")
    fitted = BiasBaseline.fit(
        table.users,
        table.items,
        table.ratings,
        user_rows=len(table.user_vocabulary),
        item_rows=len(table.item_vocabulary),
        penalty=1e-3,
    )
    predicted = fitted.predict(table.users, table.items)
    assert np.abs(predicted - truth.expected(table.users, table.items)).max() < 0.01


def test_popularity_and_activity_are_skewed_as_in_real_data(draw, ml_100k):
    table, _ = draw("data.users=943", "data.items=1682", "data.factors=0")
    for side in ("users", "items"):
        made = np.sort(np.bincount(getattr(table, side))[1:])[::-1].cumsum() / len(table)
        real = np.sort(np.bincount(getattr(ml_100k, side))[1:])[::-1].cumsum() / len(ml_100k)
        tenth = len(real) // 10
        assert made[tenth] == pytest.approx(real[tenth], abs=0.15)
        assert made[tenth] > 0.2


def test_a_flat_popularity_has_no_skew(draw):
    table, _ = draw("data.popularity=0", "data.ratings=200000")
    counts = np.bincount(table.items)[1:]
    assert counts.std() < 1.5 * counts.mean() ** 0.5


def test_times_only_where_asked_for(draw):
    assert draw("data.ratings=1000")[0].timestamps is None
    times = draw("data.ratings=1000", "data.timestamps=true")[0].timestamps
    assert times.dtype == np.int64
    assert len(np.unique(times)) > 900


def test_more_ratings_than_pairs_are_refused(draw):
    with pytest.raises(DataError, match=r"data\.ratings=1000 is more than half of the 30 x 40"):
        draw("data.ratings=1000", "data.users=30", "data.items=40")

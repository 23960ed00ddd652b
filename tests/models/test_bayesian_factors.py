import numpy as np
import pytest
import torch

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.features import TimeEffect
from lightning_collab.models import DatasetStatistics, build_model
from lightning_collab.models.bayesian_factors import Sample

USERS, ITEMS, FACTORS = 5, 4, 2
PAIRS_OF_USERS = np.array([[1, 10], [1, 11], [3, 10]])


def effects():
    rows, day = PAIRS_OF_USERS.T.astype(np.int32)
    return (
        TimeEffect.fit("user_day", "users", 1, rows, day),
        TimeEffect.fit("item_month", "items", 30, np.array([2, 3], np.int32), day[:2]),
    )


def built(run_config, *overrides, time=True):
    config = run_config("model=bayesian_factors", f"model.factors={FACTORS}", *overrides)
    statistics = DatasetStatistics(
        USERS, ITEMS, (1.0, 5.0), 3.5, time_effects=effects() if time else ()
    )
    return build_model(config.model, statistics)


def sample(seed, pairs=5):
    random = np.random.default_rng(seed)
    width = 1 + FACTORS
    roots = random.normal(size=(2, width, width))
    return Sample(
        users=random.normal(size=(USERS, width)),
        items=random.normal(size=(ITEMS, width)),
        effects=random.normal(size=pairs),
        user_covariance=roots[0] @ roots[0].T,
        item_covariance=roots[1] @ roots[1].T,
        noise_variance=random.uniform(0.5, 1.5),
        user_noise=random.uniform(0.5, 1.5, USERS),
        item_noise=random.uniform(0.5, 1.5, ITEMS),
    )


BATCH = RatingBatch(
    torch.tensor([1, 3, 1, 0, 2]).int(),
    torch.tensor([2, 1, 3, 1, 0]).int(),
    torch.full((5,), 3.0),
    torch.tensor([11, 10, 99, 10, 10]).int(),
)
# Which number of `effects` each rating of BATCH has: of the user's days, then of the item's months.
EFFECTS_OF_BATCH = [(1, 3), (2, None), (None, None), (None, None), (None, None)]


def by_hand(drawn, batch=BATCH):
    """The prediction of one sample less the mean."""
    raw = []
    for user, item, known in zip(
        batch.users.tolist(), batch.items.tolist(), EFFECTS_OF_BATCH, strict=True
    ):
        u, i = drawn.users[user], drawn.items[item]
        raw.append(
            u[0] + i[0] + u[1:] @ i[1:] + sum(drawn.effects[k] for k in known if k is not None)
        )
    return np.array(raw)


def test_the_prediction_is_the_mean_of_those_of_the_samples(run_config):
    model = built(run_config, "model.burn_in=0")
    samples = [sample(seed) for seed in range(3)]
    for sweep, each in enumerate(samples):
        model.take(each, sweep)
    expected = 3.5 + np.mean([by_hand(each) for each in samples], 0)
    assert model(BATCH).tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert model(BATCH).dtype == torch.float32


def test_samples_of_the_burn_in_are_not_kept_but_shown(run_config):
    model = built(run_config, "model.burn_in=2")
    for sweep in range(2):
        model.take(sample(sweep), sweep)
    assert int(model.kept) == 0
    assert model(BATCH).tolist() == pytest.approx((3.5 + by_hand(sample(1))).tolist(), abs=1e-5)
    for sweep in (2, 3):
        model.take(sample(sweep), sweep)
    expected = 3.5 + (by_hand(sample(2)) + by_hand(sample(3))) / 2
    assert model(BATCH).tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    means = (sample(2).users + sample(3).users) / 2
    assert model.user_factors.weight.detach().numpy() == pytest.approx(means[:, 1:], abs=1e-5)
    assert model.embedding_tables()["users"].shape == (USERS - 1, FACTORS)


@pytest.mark.parametrize(("room", "sweeps"), [(4, 4), (4, 5), (4, 9), (5, 11), (1, 6)])
def test_with_no_more_room_the_samples_stay_evenly_spread(run_config, room, sweeps):
    model = built(run_config, "model.burn_in=3", f"model.samples={room}", time=False)
    for sweep in range(3 + sweeps):
        model.take(sample(sweep, pairs=0), sweep)
    stride, kept = int(model.stride), int(model.kept)
    assert kept <= room
    assert kept == -(-sweeps // stride)
    assert stride == 1 or -(-sweeps // (stride // 2)) > room, "no more are dropped than must be"
    for number in range(kept):
        expected = sample(3 + number * stride, pairs=0).users
        assert model.user_samples[number].numpy() == pytest.approx(expected, abs=1e-6)
    mean = model.user_samples[:kept, :, 1:].mean(0)
    assert torch.allclose(model.user_factors.weight, mean, atol=1e-5)


def test_the_deviation_is_that_of_the_samples_and_of_the_noise(run_config):
    model = built(run_config, "model.burn_in=0")
    samples = [sample(seed) for seed in range(4)]
    for sweep, each in enumerate(samples):
        model.take(each, sweep)
    users, items = BATCH.users.numpy(), BATCH.items.numpy()
    spread = np.var([by_hand(each) for each in samples], 0)
    noise = np.mean([s.noise_variance for s in samples])
    noise = noise * np.mean([s.user_noise for s in samples], 0)[users]
    noise = noise * np.mean([s.item_noise for s in samples], 0)[items]
    # Of somebody unknown the prior's variance as well: x' C x for the regressors x = [1, q].
    unknown = np.zeros(5)
    x = [np.array([1.0, *s.items[items[3], 1:]]) for s in samples]
    unknown[3] = np.mean([a @ s.user_covariance @ a for a, s in zip(x, samples, strict=True)])
    x = [np.array([1.0, *s.users[users[4], 1:]]) for s in samples]
    unknown[4] = np.mean([a @ s.item_covariance @ a for a, s in zip(x, samples, strict=True)])
    # Of a period that has no value, the mean square of those that have one.
    sizes = [len(effect.keys) for effect in model.time_effects.of_periods()]
    ends = np.cumsum(sizes)
    for column, (first, last) in enumerate(zip(ends - sizes, ends, strict=True)):
        square = np.mean([np.mean(each.effects[first:last] ** 2) for each in samples])
        unknown += square * np.array([known[column] is None for known in EFFECTS_OF_BATCH])
    predicted, deviations = model.predict_with_deviation(BATCH)
    assert torch.equal(predicted, model(BATCH))
    assert (deviations**2).tolist() == pytest.approx((spread + noise + unknown).tolist(), rel=1e-4)


def test_what_is_not_known_at_all_deviates_by_all_priors(run_config):
    """Against draws of everything: a user, an item and a day that nobody has seen."""
    model = built(run_config, "model.burn_in=0")
    drawn = sample(0)
    model.take(drawn, 0)
    nobody = RatingBatch(torch.tensor([0]), torch.tensor([0]), torch.tensor([0.0]))
    random = np.random.default_rng(5)
    users, items = (
        random.multivariate_normal(rows[0], covariance, 400_000)
        for rows, covariance in (
            (drawn.users, drawn.user_covariance),
            (drawn.items, drawn.item_covariance),
        )
    )
    ratings = users[:, 0] + items[:, 0] + (users[:, 1:] * items[:, 1:]).sum(1)
    sizes = [len(effect.keys) for effect in model.time_effects.of_periods()]
    of_days = sum(np.mean(part**2) for part in np.split(drawn.effects, np.cumsum(sizes)[:-1]))
    noise = drawn.noise_variance * drawn.user_noise[0] * drawn.item_noise[0]
    _, deviation = model.predict_with_deviation(nobody)
    assert float(deviation**2) == pytest.approx(ratings.var() + of_days + noise, rel=0.01)


def test_a_model_is_rebuilt_from_its_weights(run_config):
    model = built(run_config, "model.burn_in=0")
    model.take(sample(0), 0)
    again = built(run_config, "model.burn_in=0")
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(BATCH), model(BATCH))


def test_without_days_effects_are_nothing(run_config):
    model = built(run_config, "model.burn_in=0")
    model.take(sample(0), 0)
    drawn = sample(0)._replace(effects=np.zeros(5))
    rated = model(BATCH._replace(day=None))
    assert rated.tolist() == pytest.approx((3.5 + by_hand(drawn)).tolist(), abs=1e-5)


def test_mean_factors_predict_about_the_same(run_config):
    model = built(run_config, "model.burn_in=0")
    model.take(sample(0), 0)
    embedded = model.embed(BATCH)
    assert torch.allclose(model.rate(embedded.rows, BATCH, embedded.effects), model(BATCH))


def test_every_parameter_is_in_exactly_one_group(run_config):
    model = built(run_config)
    grouped = [p for parameters in model.parameter_groups().values() for p in parameters]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}
    assert tuple(model.parameter_groups()) == run_config("model=bayesian_factors").model.group_names


def test_other_models_have_no_deviation(run_config):
    model = build_model(run_config().model, DatasetStatistics(USERS, ITEMS, (1.0, 5.0), 3.5)).eval()
    predicted, deviation = model.predict_with_deviation(BATCH)
    assert deviation is None
    assert torch.equal(predicted, model(BATCH))

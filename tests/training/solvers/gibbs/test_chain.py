"""The chain as a whole: against the joint distribution, whatever threads and order there are."""

import copy

import numba
import numpy as np
import pytest
from gibbs_formulas import assert_uniform, of_a_precision, of_a_row_prior, of_noise_multiples
from scipy.sparse import csc_array
from scipy.special import ndtr

from lightning_collab.training.solvers.gibbs.chain import ChainSettings, GibbsChain, Observations
from lightning_collab.training.solvers.gibbs.conditionals import Streams
from lightning_collab.training.solvers.gibbs.priors import SHAPES, GammaPrior, Hyperpriors
from lightning_collab.training.solvers.gibbs_sampler import _sample

USERS, ITEMS = 4, 3
INFORMATIVE = Hyperpriors(
    noise=GammaPrior(6.0, 6.0),
    regressions=GammaPrior(6.0, 6.0),
    effects=GammaPrior(6.0, 6.0),
    scales=GammaPrior(6.0, 1.0),
    degrees=8.0,
    mean_weight=2.0,
)


def features(rows, columns, seed):
    random = np.random.default_rng(seed)
    dense = random.normal(size=(rows, columns)) * (random.random((rows, columns)) < 0.8)
    dense[0] = 0
    return csc_array(dense.astype(np.float32))


def small_chain(seed=0, joint_regression=2, **settings):
    """Four users, three items, two blocks of users (one of each kind of link), one of items."""
    random = np.random.default_rng(8)
    users, items = np.divmod(np.arange(USERS * ITEMS), ITEMS)
    days = random.integers(0, 3, len(users))
    observations = Observations(
        users + 1, items + 1, random.normal(size=len(users)), {"day": days, "month": days // 2}
    )
    return GibbsChain(
        observations,
        USERS + 1,
        ITEMS + 1,
        {"wide": features(USERS + 1, 3, 1), "narrow": features(USERS + 1, 2, 2)},
        {"items": features(ITEMS + 1, 2, 3)},
        ChainSettings(
            **{
                "factors": 1,
                "user_noise": True,
                "item_noise": True,
                "joint_regression": joint_regression,
                "seed": seed,
                "hyperpriors": INFORMATIVE,
                **settings,
            }
        ),
    )


def draw_from_the_prior(chain, random):
    """All unknowns from their prior, in the order of the hierarchy."""
    constants = chain.settings.hyperpriors
    chain.precision = random.gamma(constants.noise.shape) / constants.noise.rate
    for side in (chain.users, chain.items):
        prior, width = side.prior, len(side.prior.mean)
        prior.scales = random.gamma(constants.scales.shape, size=width) / constants.scales.rate
        # The definition of the Wishart distribution for whole degrees of freedom.
        vectors = random.normal(size=(int(prior.degrees), width)) / np.sqrt(prior.scales)
        prior.precision = vectors.T @ vectors
        inverse = np.linalg.inv(np.linalg.cholesky(prior.precision))
        prior.mean = random.normal(size=width) @ inverse / np.sqrt(constants.mean_weight)
        for regression in side.regressions:
            precision = random.gamma(constants.regressions.shape) / constants.regressions.rate
            matrix = random.normal(size=regression.matrix.shape) @ inverse / np.sqrt(precision)
            regression.restore(matrix, precision)
        side.rows = side.prior_mean + random.normal(size=side.rows.shape) @ inverse
        side.rows[0] = prior.mean
        side.noise.shape = float(random.choice(SHAPES))
        side.noise.multiples = random.gamma(side.noise.shape, size=len(side.rows))
        side.noise.multiples /= side.noise.shape
        side.noise.multiples[0] = 1.0
    for effect in chain.effects.values():
        effect.precision = random.gamma(constants.effects.shape) / constants.effects.rate
        effect.values = random.normal(size=len(effect.values)) / np.sqrt(effect.precision)


def draw_ratings(chain, random):
    """Ratings given all unknowns."""
    users = np.repeat(np.arange(1, USERS + 1), ITEMS)
    u, i = chain.users.rows[users], chain.items.rows[chain.users.other]
    mean = u[:, 0] + i[:, 0] + (u[:, 1:] * i[:, 1:]).sum(1)
    for effect in chain.effects.values():
        mean += effect.values[effect.groups]
    precision = (
        chain.precision
        * chain.users.noise.multiples[users]
        * chain.items.noise.multiples[chain.users.other]
    )
    chain.ratings = mean + random.normal(size=len(mean)) / np.sqrt(precision)


def observed(chain):
    """Functions of all unknowns, whose means must be those under the prior."""
    found = [np.log(chain.precision), chain.ratings[0], chain.ratings[0] * chain.ratings[5]]
    for side in (chain.users, chain.items):
        prior = side.prior
        rows = side.rows
        found += [
            *prior.mean,
            *np.log(np.diag(prior.precision)),
            prior.precision[0, 1],
            *np.log(prior.scales),
            rows[1, 0],
            rows[2, 1] ** 2,
            rows[1, 1] * rows[3, 1],
            np.log(side.noise.multiples[1]),
            np.log(side.noise.shape),
        ]
        for regression in side.regressions:
            found += [
                np.log(regression.precision),
                regression.mapped[1, 0],
                regression.mapped[2, 1] ** 2,
            ]
            found.append(regression.mapped[1, 1] * rows[1, 1])
    for effect in chain.effects.values():
        found += [np.log(effect.precision), effect.values[0], np.abs(effect.values[1])]
    return np.array([np.tanh(value / 3) for value in found])


@pytest.mark.slow
@pytest.mark.parametrize("joint_regression", [0, 2])
def test_sweeps_leave_the_joint_distribution_as_it_is(joint_regression):
    # Geweke (2004), "Getting it right": draws from the prior against a chain that alternates
    # sweeps with new ratings; every conditional must be right for all means to agree.
    random = np.random.default_rng(joint_regression)
    chain = small_chain(joint_regression=joint_regression)
    from_prior = []
    for _ in range(6000):
        draw_from_the_prior(chain, random)
        draw_ratings(chain, random)
        from_prior.append(observed(chain))
    batches, length = 100, 200
    from_chain = []
    for _ in range(batches):
        means = []
        for _ in range(length):
            chain.sweep()
            draw_ratings(chain, random)
            means.append(observed(chain))
        from_chain.append(np.mean(means, 0))
    prior, chained = np.array(from_prior), np.array(from_chain)
    variance = prior.var(0) / len(prior) + chained.var(0, ddof=1) / batches
    scores = (prior.mean(0) - chained.mean(0)) / np.sqrt(variance)
    assert np.abs(scores).max() < 4, scores.round(1)
    assert (scores**2).mean() < 1.8, scores.round(1)


def of_the_priors(chain, before):
    """Probabilities of the priors of rows and links that a sweep has drawn."""
    constants = chain.settings.hyperpriors
    for name in ("users", "items"):
        side, old = getattr(chain, name), getattr(before, name)
        for regression in side.regressions:
            whitened = regression.matrix @ np.linalg.cholesky(old.prior.precision)
            yield (
                f"{name} links",
                of_a_precision(regression.precision, constants.regressions, whitened),
            )
        rows = old.rows[1:] - sum(regression.mapped[1:] for regression in side.regressions)
        links = [(regression.precision, regression.matrix) for regression in side.regressions]
        found = of_a_row_prior(side.prior, old.prior.scales, rows, links, constants)
        yield from ((f"{name} {what}", probability) for what, probability in found.items())


def of_the_effects(chain, before, left, weights):
    """Probabilities of the effects of time; `left` then is what they leave, too."""
    for effect, old in zip(chain.effects.values(), before.effects.values(), strict=True):
        left += old.values[old.groups]
        member = effect.groups == np.arange(len(effect.values))[:, None]
        total = old.precision + before.precision * member @ weights
        mean = before.precision * member @ (weights * left) / total
        yield "effects", ndtr((effect.values - mean) * np.sqrt(total))
        left -= effect.values[effect.groups]
        prior = chain.settings.hyperpriors.effects
        yield "effect precisions", of_a_precision(effect.precision, prior, effect.values)


def of_the_noises(chain, before, users, items, left):
    """Probabilities of each side's multiples, of items given those of users."""
    multiples = chain.users.noise.multiples, before.items.noise.multiples
    squares = chain.precision * left**2
    of_users = np.bincount(users, squares * multiples[1][items])
    of_items = np.bincount(items, squares * multiples[0][users])
    for name, other_squares in (("users", of_users), ("items", of_items)):
        noise, shape = getattr(chain, name).noise, getattr(before, name).noise.shape
        counts = getattr(chain, name).counts
        found = of_noise_multiples(noise.multiples, shape, counts, other_squares)
        yield f"{name} noise", found[1:]


def of_a_sweep(chain):
    """Make a sweep; by name, probabilities of what it has drawn, given all else."""
    before = copy.deepcopy(chain)
    chain.sweep()
    users, items = np.repeat(np.arange(1, USERS + 1), ITEMS), chain.users.other
    u, i = chain.users.rows[users], chain.items.rows[items]
    left = chain.ratings - u[:, 0] - i[:, 0] - (u[:, 1:] * i[:, 1:]).sum(1)
    for old in before.effects.values():
        left -= old.values[old.groups]
    weights = before.users.noise.multiples[users] * before.items.noise.multiples[items]
    yield from of_the_priors(chain, before)
    yield from of_the_effects(chain, before, left, weights)
    constants = chain.settings.hyperpriors
    yield "precision", of_a_precision(chain.precision, constants.noise, left, weights)
    yield from of_the_noises(chain, before, users, items, left)
    assert chain.squared_error == pytest.approx(left @ left * chain.spread**2)


def test_a_sweep_draws_from_the_conditional_distributions_of_the_textbook():
    # Ratings that tell about the noise and the days, and days with a prior that has a say as well.
    constants = INFORMATIVE._replace(noise=GammaPrior(0.5, 0.5), effects=GammaPrior(60.0, 6.0))
    chain = small_chain(hyperpriors=constants)
    chain.ratings += 2.0 * chain.effects["day"].groups
    found = {}
    for _ in range(200):
        # Any state will do, and this one tells multiples of the noise that are far from 1.
        chain.users.noise.shape = chain.items.noise.shape = 1.0
        for name, probability in of_a_sweep(chain):
            found.setdefault(name, []).extend(np.atleast_1d(probability))
    assert len(found) == 13
    for name, probabilities in found.items():
        assert_uniform(probabilities, name)


def flat(state):
    for value in state.values():
        if isinstance(value, dict):
            yield from flat(value)
        else:
            yield np.asarray(value)


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(flat(one), flat(two), strict=True))


def test_the_number_of_threads_changes_no_number():
    states = []
    for count in {1, min(2, numba.config.NUMBA_NUM_THREADS)}:
        numba.set_num_threads(count)
        chain = small_chain(joint_regression=0)
        for _ in range(5):
            chain.sweep()
        states.append(chain.state())
    assert same(states[0], states[-1])


def test_the_order_of_the_ratings_changes_no_number():
    random = np.random.default_rng(0)
    users, items = np.divmod(random.permutation(12), 3)
    ratings = random.normal(size=12)
    settings = ChainSettings(2, True, True, 10, 0)
    states = []
    for order in (np.arange(12), random.permutation(12)):
        chain = GibbsChain(
            Observations(users[order] + 1, items[order] + 1, ratings[order]), 5, 4, {}, {}, settings
        )
        chain.sweep()
        states.append(chain.state())
    assert same(*states)


def test_another_seed_is_another_chain():
    one, two = small_chain(seed=0), small_chain(seed=1)
    one.sweep()
    two.sweep()
    assert not same(one.state(), two.state())


def test_ratings_that_follow_the_model_are_explained():
    random = np.random.default_rng(5)
    users, items = np.divmod(np.arange(60 * 50), 50)
    p, q = random.normal(size=(60, 2)), random.normal(size=(50, 2))
    ratings = 3 + (p[users] * q[items]).sum(1) + 0.5 * random.normal(size=len(users))
    known = random.random(len(users)) < 0.7
    chain = GibbsChain(
        Observations(users[known] + 1, items[known] + 1, ratings[known]),
        61,
        51,
        {},
        {},
        ChainSettings(4, False, False, 10, 0),
    )
    predicted, precisions = [], []
    for sweep in range(80):
        chain.sweep()
        if sweep >= 30:
            u, i = chain.users.rows[users[~known] + 1], chain.items.rows[items[~known] + 1]
            raw = u[:, 0] + i[:, 0] + (u[:, 1:] * i[:, 1:]).sum(1)
            predicted.append(chain.mean + chain.spread * raw)
            precisions.append(chain.traces()["noise_precision"])
    errors = np.mean(predicted, 0) - ratings[~known]
    assert np.sqrt((errors**2).mean()) < 0.58, "the noise alone is 0.5"
    assert np.mean(precisions) == pytest.approx(1 / 0.25, rel=0.1)


def test_a_sample_is_in_units_of_ratings():
    """A bias of one deviation is `spread` stars; the product of two factors likewise."""
    chain = small_chain(factors=2)
    chain.spread = 0.25
    draw_from_the_prior(chain, np.random.default_rng(0))
    found = _sample(chain)
    biases = chain.users.rows[:, 0], chain.items.rows[:, 0]
    products = chain.users.rows[:, 1:] @ chain.items.rows[:, 1:].T
    np.testing.assert_allclose(found.users[:, 0], 0.25 * biases[0])
    np.testing.assert_allclose(found.items[:, 0], 0.25 * biases[1])
    np.testing.assert_allclose(found.users[:, 1:] @ found.items[:, 1:].T, 0.25 * products)
    for side, covariance in (
        (chain.users, found.user_covariance),
        (chain.items, found.item_covariance),
    ):
        prior = np.linalg.inv(side.prior.precision)
        assert covariance[0, 0] == pytest.approx(0.25**2 * prior[0, 0])
        np.testing.assert_allclose(covariance[1:, 1:], 0.25 * prior[1:, 1:])
        np.testing.assert_allclose(covariance[0, 1:], 0.25**1.5 * prior[0, 1:])
    assert found.noise_variance == pytest.approx(0.25**2 / chain.precision)


def test_what_tells_whether_it_has_settled_is_in_units_of_ratings():
    chain = small_chain()
    draw_from_the_prior(chain, np.random.default_rng(1))
    chain.spread = 0.5
    blocks = [
        (side, each) for side in ("users", "items") for each in getattr(chain, side).regressions
    ]
    expected = {
        "noise_precision": 4 * chain.precision,
        "users.noise_shape": chain.users.noise.shape,
        "items.noise_shape": chain.items.noise.shape,
        **{f"{side}.{each.name}.link_precision": each.precision for side, each in blocks},
        **{f"time.{name}.precision": 4 * chain.effects[name].precision for name in chain.effects},
    }
    assert len(expected) == 3 + 3 + 2
    assert chain.traces() == pytest.approx(expected)
    assert "users.noise_shape" not in small_chain(user_noise=False).traces()


def test_a_regression_is_drawn_on_what_the_others_leave_of_each_known_row(monkeypatch):
    chain = small_chain()
    draw_from_the_prior(chain, np.random.default_rng(2))
    users, seen = chain.users, []
    users.rows[0] = 7.0  # of the unknown, whom no rating tells of
    for regression in users.regressions:

        def draw(left, *arguments, own=regression):
            others = sum(each.mapped for each in users.regressions if each is not own)
            seen.append((left.copy(), users.rows - users.prior.mean - others))

        monkeypatch.setattr(regression, "draw", draw)
    users.draw_prior(INFORMATIVE, Streams(1, 0))
    assert len(seen) == 2
    for left, expected in seen:
        np.testing.assert_allclose(left[1:], expected[1:])
        assert not left[0].any()

"""The Markov chain: its state, and one sweep through all conditional distributions."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from lightning_collab.training.solvers.gibbs.conditionals import (
    Floats,
    Ids,
    Streams,
    draw_rows,
    residuals,
    weighted_sums,
)
from lightning_collab.training.solvers.gibbs.priors import (
    Hyperpriors,
    JointRegression,
    RowNoise,
    RowPrior,
    RowwiseRegression,
    SideInformationRegression,
)

# Standard deviation of the factors that a chain starts with. It is large, so that the product has
# about the spread of the ratings: factors that start near 0 are slow to leave it, since a factor
# that one side hardly uses tells the other side nothing.
START_SPREAD = 0.5


class ChainSettings(NamedTuple):
    """What a chain is to be.

    Attributes:
        factors: of a row, beside its bias.
        user_noise: whether each user has a noise of their own.
        item_noise: whether each item has a noise of its own.
        joint_regression: blocks whose smaller dimension is at most this are drawn jointly.
        seed: of all that is drawn.
        hyperpriors: constants of the priors.
    """

    factors: int
    user_noise: bool
    item_noise: bool
    joint_regression: int
    seed: int
    hyperpriors: Hyperpriors = Hyperpriors()


class Observations(NamedTuple):
    """The training ratings, in any order.

    Attributes:
        users: int [n], rows of users, above 0.
        items: int [n], rows of items, above 0.
        ratings: float [n].
        effects: int [n] by the name of each effect of time: which of its values each rating has,
            counted from 0.
    """

    users: Ids
    items: Ids
    ratings: NDArray[np.floating[Any]]
    effects: Mapping[str, Ids] = MappingProxyType({})


class ChainSide:
    """One side of the chain: the rows of users or of items, their prior and their noise.

    Attributes:
        rows: float64 [rows, 1 + factors], bias first; row 0 is the mean of the prior.
    """

    def __init__(
        self,
        own: Ids,
        other: Ids,
        row_count: int,
        features: Mapping[str, csc_array],
        settings: ChainSettings,
        learns_noise: bool,
        random: np.random.Generator,
    ) -> None:
        width = 1 + settings.factors
        counts = np.bincount(own, minlength=row_count)
        self.counts = counts.astype(np.float64)
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.other = other.astype(np.int32)
        self.rows = random.normal(scale=START_SPREAD, size=(row_count, width))
        self.rows[:, 0] = 0.0
        self.rows[0] = 0.0
        self.prior = RowPrior(width, settings.hyperpriors)
        self.noise = RowNoise(row_count, learns_noise)
        self.regressions: list[SideInformationRegression] = []
        for name, matrix in features.items():
            joint = min(matrix.shape) <= settings.joint_regression
            kind = JointRegression if joint else RowwiseRegression
            self.regressions.append(kind(name, matrix, width))

    @property
    def prior_mean(self) -> Floats:
        """Of each row, float64 [rows, 1 + factors]."""
        mean = np.tile(self.prior.mean, (len(self.rows), 1))
        for regression in self.regressions:
            mean += regression.mapped
        return mean

    def draw_prior(self, constants: Hyperpriors, streams: Streams) -> None:
        """Draw links, mean and precision of the rows, given the rows."""
        root = np.linalg.cholesky(self.prior.precision)
        for regression in self.regressions:
            left = self.rows - self.prior_mean + regression.mapped
            left[0] = 0.0
            regression.draw(left, root, constants.regressions, streams)
        left = self.rows[1:] - self.prior_mean[1:] + self.prior.mean
        squares = np.zeros_like(self.prior.precision)
        for regression in self.regressions:
            squares += regression.precision * (regression.matrix.T @ regression.matrix)
        regression_rows = sum(len(regression.matrix) for regression in self.regressions)
        self.prior.draw(left, squares, regression_rows, streams.generator())

    def draw_rows(
        self, other: "ChainSide", target: Floats, precision: float, streams: Streams
    ) -> None:
        """Draw the rows given the other side; the unknown row is the mean of the prior."""
        draw_rows(
            self.rows,
            other.rows,
            self.starts,
            self.other,
            target,
            self.prior_mean,
            self.prior.precision,
            self.noise.multiples,
            other.noise.multiples,
            precision,
            streams.key(),
        )
        self.rows[0] = self.prior.mean

    def state(self) -> dict[str, Any]:
        """All that a later sweep depends on."""
        return {
            "rows": self.rows,
            "mean": self.prior.mean,
            "precision": self.prior.precision,
            "scales": self.prior.scales,
            "noise": self.noise.multiples,
            "noise_shape": self.noise.shape,
            "links": {regression.name: regression.matrix for regression in self.regressions},
            "link_precisions": {
                regression.name: regression.precision for regression in self.regressions
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of the same side."""
        self.rows = state["rows"]
        self.prior.mean = state["mean"]
        self.prior.precision = state["precision"]
        self.prior.scales = state["scales"]
        self.noise.multiples = state["noise"]
        self.noise.shape = state["noise_shape"]
        for regression in self.regressions:
            regression.restore(
                state["links"][regression.name], state["link_precisions"][regression.name]
            )


class TimeValues:
    """The values of one effect of time, each N(0, 1/precision).

    Attributes:
        groups: int32 [n], which value each rating has.
        values: float64 [count].
        precision: of the values.
    """

    def __init__(self, groups: Ids) -> None:
        self.groups = groups.astype(np.int32)
        self.values: Floats = np.zeros(int(groups.max()) + 1)
        self.precision = 10.0


class GibbsChain:
    """Draws every unknown of the model in turn, given all others (Geman and Geman 1984).

    rating = mean + b_u + b_i + <p_u, q_i> + effects of time + noise. Inside, ratings are in units
    of their standard deviation and without their mean, so that the constants of the priors mean the
    same on any scale.

    Args:
        observations: the training ratings.
        user_rows: rows of users, the unknown one included.
        item_rows: rows of items, the unknown one included.
        user_features: [user rows, width] by name of the block.
        item_features: [item rows, width] by name of the block.
        settings: what the chain is to be.

    Attributes:
        sweeps: how many have been made.
        mean: of the ratings.
        spread: standard deviation of the ratings.
        precision: alpha, of the noise, in units of the ratings' standard deviation.
    """

    def __init__(
        self,
        observations: Observations,
        user_rows: int,
        item_rows: int,
        user_features: Mapping[str, csc_array],
        item_features: Mapping[str, csc_array],
        settings: ChainSettings,
    ) -> None:
        users, items, ratings, effects = observations
        self.settings = settings
        self.sweeps = 0
        self.precision = 1.0
        # By user, then by item: sums do not depend on the order that the ratings come in.
        by_user = np.lexsort((ratings, *effects.values(), items, users))
        users, items, ratings = users[by_user], items[by_user], ratings[by_user].astype(np.float64)
        self._of_item_order = np.argsort(items, kind="stable").astype(
            np.int32 if len(items) < 2**31 else np.int64
        )
        by_item = self._of_item_order
        random = np.random.default_rng(settings.seed)
        self._user_of_rating = users.astype(np.int32)
        self.users = ChainSide(
            users, items, user_rows, user_features, settings, settings.user_noise, random
        )
        users, items = users[by_item], items[by_item]
        self.items = ChainSide(
            items, users, item_rows, item_features, settings, settings.item_noise, random
        )
        self.mean = float(ratings.mean())
        self.spread = float(ratings.std()) or 1.0
        self.ratings: Floats = (ratings - self.mean) / self.spread
        self.effects = {name: TimeValues(groups[by_user]) for name, groups in effects.items()}
        self.squared_error = float("nan")

    def sweep(self) -> None:
        """Draw all unknowns once."""
        streams = Streams(self.settings.seed, self.sweeps)
        constants = self.settings.hyperpriors
        users, items = self.users, self.items
        target = self._without_effects()
        users.draw_prior(constants, streams)
        users.draw_rows(items, target, self.precision, streams)
        items.draw_prior(constants, streams)
        items.draw_rows(users, target[self._of_item_order], self.precision, streams)
        left = residuals(users.rows, items.rows, users.starts, users.other, target)
        for effect in self.effects.values():
            self._draw_effect(effect, left, streams)
        _, squares = self._weighted(self._user_of_rating, left**2, len(users.rows))
        self.precision = constants.noise.draw(len(left), squares.sum(), streams.generator())
        self._draw_noise(left, streams)
        # Not weighted: of the sample that the sweep ends with.
        self.squared_error = float(left @ left) * self.spread**2
        self.sweeps += 1

    def _without_effects(self) -> Floats:
        target = self.ratings.copy()
        for effect in self.effects.values():
            target -= effect.values[effect.groups]
        return target

    def _draw_effect(self, effect: TimeValues, left: Floats, streams: Streams) -> None:
        """Draw the values of an effect, then their precision; `left` is kept up to date."""
        random = streams.generator()
        left += effect.values[effect.groups]
        weights, sums = self._weighted(effect.groups, left, len(effect.values))
        total = self.precision * weights + effect.precision
        noise = random.standard_normal(len(total))
        effect.values = self.precision * sums / total + noise / np.sqrt(total)
        left -= effect.values[effect.groups]
        squares = float((effect.values**2).sum())
        prior = self.settings.hyperpriors.effects
        effect.precision = prior.draw(len(total), squares, random)

    def _draw_noise(self, left: Floats, streams: Streams) -> None:
        """Draw each side's multiples of the noise precision."""
        users, items = self.users, self.items
        squared = left**2
        random = streams.generator()
        for side, own in ((users, self._user_of_rating), (items, users.other)):
            if side.noise.learnt:
                _, squares = self._weighted(own, squared, len(side.rows))
                squares *= self.precision / side.noise.multiples
                side.noise.draw(side.counts, squares, random)

    def _weighted(self, groups: Ids, values: Floats, count: int) -> tuple[Floats, Floats]:
        """Sums of g_u g_i and of g_u g_i value by group."""
        users, items = self.users, self.items
        sums: tuple[Floats, Floats] = weighted_sums(
            groups,
            values,
            self._user_of_rating,
            users.noise.multiples,
            users.other,
            items.noise.multiples,
            count,
        )
        return sums

    def traces(self) -> dict[str, float]:
        """The numbers that tell whether the chain has settled, by name.

        Returns:
            `noise_precision` (1/rating units squared), `<side>.noise_shape`,
            `<side>.<block>.link_precision`, `time.<effect>.precision`.
        """
        traced = {"noise_precision": self.precision / self.spread**2}
        for name, side in (("users", self.users), ("items", self.items)):
            if side.noise.learnt:
                traced[f"{name}.noise_shape"] = side.noise.shape
            for regression in side.regressions:
                traced[f"{name}.{regression.name}.link_precision"] = regression.precision
        for name, effect in self.effects.items():
            traced[f"time.{name}.precision"] = effect.precision / self.spread**2
        return traced

    def state(self) -> dict[str, Any]:
        """All that a later sweep depends on, as arrays, numbers and dictionaries of them."""
        return {
            "sweeps": self.sweeps,
            "precision": self.precision,
            "users": self.users.state(),
            "items": self.items.state(),
            "effects": {name: effect.values for name, effect in self.effects.items()},
            "effect_precisions": {name: effect.precision for name, effect in self.effects.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state of a chain over the same ratings.

        Args:
            state: from `state`.
        """
        self.sweeps = state["sweeps"]
        self.precision = state["precision"]
        self.users.restore(state["users"])
        self.items.restore(state["items"])
        for name, effect in self.effects.items():
            effect.values = state["effects"][name]
            effect.precision = state["effect_precisions"][name]

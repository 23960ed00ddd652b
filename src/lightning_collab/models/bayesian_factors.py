"""Factors, biases and effects of time as samples of their posterior distribution."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.vocabulary import UNKNOWN_ROW, Side
from lightning_collab.models.config import BayesianFactorsConfig
from lightning_collab.models.embedding_table import EmbeddingTable
from lightning_collab.models.item_scores import BIASED_DOT_PRODUCT, Rows, SampleMeanScores, Tables
from lightning_collab.models.rating_model import RatingModel
from lightning_collab.models.rating_output import DatasetStatistics

# Buffers that hold samples, one after the other.
SAMPLED = (
    "user_samples",
    "item_samples",
    "effect_samples",
    "user_prior_samples",
    "item_prior_samples",
)


Floats = NDArray[np.floating[Any]]


class Sample(NamedTuple):
    """One draw of all that a prediction depends on, in rating units.

    Attributes:
        users: [user rows, 1 + factors], bias first; row 0 is the mean of the prior.
        items: [item rows, 1 + factors], likewise.
        effects: [known pairs], of all effects of time one after the other.
        user_covariance: [1 + factors, 1 + factors], of a user about the mean of the prior.
        item_covariance: [1 + factors, 1 + factors], likewise.
        noise_variance: of a rating of a typical user and item.
        user_noise: [user rows], multiples of the noise variance.
        item_noise: [item rows], multiples of the noise variance.
    """

    users: Floats
    items: Floats
    effects: Floats
    user_covariance: Floats
    item_covariance: Floats
    noise_variance: float
    user_noise: Floats
    item_noise: Floats


class BayesianFactors(RatingModel):
    """rating = mean + b_u + b_i + <p_u, q_i> + effects of time, averaged over samples.

    Salakhutdinov and Mnih (2008), "Bayesian probabilistic matrix factorization using Markov chain
    Monte Carlo", equation 10: the prediction is the mean of the predictions of samples, not the
    prediction of mean factors. So the samples are part of the model. At most `samples` of them are
    kept, in float32; when there is no more room, every second one is dropped, and from then on half
    as many are taken: they are always spread evenly over the sweeps since the burn-in.

    The tables hold the means of the kept samples, for inspection; until there is one, the latest
    state of the chain, which then is the prediction too.

    Example:
        >>> model = lightning_collab.BayesianFactors.for_data(data, factors=8, samples=50)

    Args:
        config: the `model` section.
        statistics: sizes, mean and effects of time of the training ratings.
    """

    config_class = BayesianFactorsConfig
    description = "mean prediction over samples of factors and biases (Gibbs sampling)"
    trained_by = "gibbs"
    formula_parts = ("mean_rating",)

    config: BayesianFactorsConfig
    user_samples: Tensor
    item_samples: Tensor
    effect_samples: Tensor
    user_prior_samples: Tensor
    item_prior_samples: Tensor
    user_noise: Tensor
    item_noise: Tensor
    noise_variance: Tensor
    mean_rating: Tensor
    kept: Tensor
    stride: Tensor

    def __init__(self, config: BayesianFactorsConfig, statistics: DatasetStatistics) -> None:
        # Features have done their part when a row has been drawn; effects of time are looked up.
        super().__init__(config, statistics._replace(user_features=(), item_features=()))
        users, items, factors = statistics.user_rows, statistics.item_rows, config.factors
        self.user_factors = EmbeddingTable(users, factors, 0.0)
        self.item_factors = EmbeddingTable(items, factors, 0.0)
        self.user_bias = EmbeddingTable(users, 1, 0.0)
        self.item_bias = EmbeddingTable(items, 1, 0.0)
        pairs = sum(len(effect.keys) for effect in statistics.time_effects)
        samples, width = config.samples, 1 + factors
        for name, shape in {
            "user_samples": (samples, users, width),
            "item_samples": (samples, items, width),
            "effect_samples": (samples, 1 + pairs),
            "user_prior_samples": (samples, width, width),
            "item_prior_samples": (samples, width, width),
            "user_noise": (users,),
            "item_noise": (items,),
            "noise_variance": (),
        }.items():
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("mean_rating", torch.tensor(statistics.mean_rating))
        self.register_buffer("kept", torch.zeros((), dtype=torch.int64))
        self.register_buffer("stride", torch.ones((), dtype=torch.int64))

    def forward(self, batch: RatingBatch) -> Tensor:
        """Predicted ratings: means over the kept samples.

        Args:
            batch: B users and items, with `day` where there are effects of time.

        Returns:
            float [B], in rating units, not clamped to the scale.
        """
        count = int(self.kept)
        if count == 0:
            return super().forward(batch)
        return self.mean_of(self.sum_of_samples(batch, 0, count), count)

    def sum_of_samples(self, batch: RatingBatch, first: int, last: int) -> Tensor:
        """Predictions of some samples, less the mean rating, added up.

        Args:
            batch: B users and items.
            first: sample to begin with.
            last: sample to end before.

        Returns:
            float64 [B].
        """
        pairs = self.time_effects.numbered_pairs(batch)
        total = torch.zeros(len(batch.users), dtype=torch.float64, device=batch.users.device)
        for number in range(first, last):
            total += self._of_sample(number, batch, pairs)
        return total

    def mean_of(self, total: Tensor, count: int) -> Tensor:
        """Predicted ratings from a sum over samples.

        Args:
            total: float64 [B], from `sum_of_samples`.
            count: samples in it.

        Returns:
            float [B], in rating units.
        """
        return (total / count + self.mean_rating).to(self.user_samples.dtype)

    def _of_sample(self, number: int, batch: RatingBatch, pairs: Tensor) -> Tensor:
        """Prediction of one sample less the mean rating, float [B]."""
        users = self.user_samples[number].index_select(0, batch.users)
        items = self.item_samples[number].index_select(0, batch.items)
        # The bias of either side stands beside a 1 of the other.
        raw = (users[:, 1:] * items[:, 1:]).sum(1) + users[:, 0] + items[:, 0]
        for rows in pairs.T:
            raw = raw + self.effect_samples[number][rows]
        return raw

    def predict_with_deviation(self, batch: RatingBatch) -> tuple[Tensor, Tensor]:
        """Predicted ratings and how far a rating is likely to be from them.

        The variance is that of the samples' predictions, plus the noise of a rating of this user
        and this item, plus that of the prior of whatever is not known: a user or an item without
        training ratings, and a period without any (or a day that is not said).

        Args:
            batch: B users and items.

        Returns:
            float [B], as `forward`; float [B], standard deviations in rating units.
        """
        count = int(self.kept)
        noise = self.noise_variance * self.user_noise[batch.users] * self.item_noise[batch.items]
        if count == 0:
            return self(batch), noise.sqrt()
        pairs = self.time_effects.numbered_pairs(batch)
        total = torch.zeros(len(batch.users), dtype=torch.float64, device=batch.users.device)
        squares = torch.zeros_like(total)
        for number in range(count):
            raw = self._of_sample(number, batch, pairs)
            total += raw
            squares += raw.double() ** 2 + self._of_unknown(number, batch, pairs)
        variance = (squares / count - (total / count) ** 2).clamp(min=0) + noise
        return self.mean_of(total, count), variance.sqrt().to(noise.dtype)

    def _of_unknown(self, number: int, batch: RatingBatch, pairs: Tensor) -> Tensor:
        """Variance of the prediction where user, item or period is not known, float [B]."""
        variance = torch.zeros(len(batch.users), device=batch.users.device)
        sides = (
            (batch.users, self.user_prior_samples, batch.items, self.item_samples),
            (batch.items, self.item_prior_samples, batch.users, self.user_samples),
        )
        for own, priors, other, samples in sides:
            unknown = (own == UNKNOWN_ROW).nonzero()[:, 0]
            if len(unknown):
                regressors = samples[number][other[unknown]].clone()
                regressors[:, 0] = 1.0
                spread = ((regressors @ priors[number]) * regressors).sum(1)
                variance[unknown] += spread
        # Of the product of two unknown vectors.
        both = (batch.users == UNKNOWN_ROW) & (batch.items == UNKNOWN_ROW)
        of_users, of_items = self.user_prior_samples[number], self.item_prior_samples[number]
        variance += both * (of_users[1:, 1:] * of_items[1:, 1:]).sum()
        first = 1
        for column, effect in enumerate(self.time_effects.of_periods()):
            values = self.effect_samples[number, first : first + len(effect.keys)]
            first += len(values)
            if len(values):
                # They are draws of N(0, s^2), as that of a further period will be.
                period = pairs[:, column] == UNKNOWN_ROW if pairs.shape[1] else 1.0
                variance += period * values.square().mean()
        return variance

    def due(self, sweep: int) -> bool:
        """Whether a sample of this sweep is to be kept.

        Args:
            sweep: counted from 0.
        """
        after = sweep - self.config.burn_in
        return after >= 0 and after % int(self.stride) == 0

    @torch.no_grad()
    def take(self, sample: Sample, sweep: int) -> None:
        """Keep a sample if its sweep is due, else only show it while there is no other.

        Args:
            sample: of the chain.
            sweep: after which it was drawn, counted from 0.
        """
        count, room = int(self.kept), len(self.user_samples)
        if self.due(sweep) and count == room:
            self._drop_every_second()
            count = int(self.kept)
        if not self.due(sweep) and count:
            return
        if self.due(sweep):
            self.user_samples[count] = torch.from_numpy(sample.users)
            self.item_samples[count] = torch.from_numpy(sample.items)
            self.effect_samples[count, 1:] = torch.from_numpy(sample.effects)
            self.user_prior_samples[count] = torch.from_numpy(sample.user_covariance)
            self.item_prior_samples[count] = torch.from_numpy(sample.item_covariance)
            self.kept += 1
        share = 1.0 / (count + 1)
        effects, first = torch.from_numpy(sample.effects).to(self.mean_rating), 0
        for effect in self.time_effects.of_periods():
            values = effects[first : first + len(effect.keys)]
            effect.table.weight[1:, 0].lerp_(values, share)
            first += len(values)
        for mean, value in (
            (self.user_factors.weight, sample.users[:, 1:]),
            (self.item_factors.weight, sample.items[:, 1:]),
            (self.user_bias.weight, sample.users[:, :1]),
            (self.item_bias.weight, sample.items[:, :1]),
            (self.user_noise, sample.user_noise),
            (self.item_noise, sample.item_noise),
            (self.noise_variance, np.array(sample.noise_variance)),
        ):
            mean.lerp_(torch.from_numpy(value).to(mean), share)

    def _drop_every_second(self) -> None:
        """Make room. Means of factors are those of the samples left; others go on as they were."""
        room = len(self.user_samples)
        left = -(-room // 2)
        for name in SAMPLED:
            samples = getattr(self, name)
            for number in range(left):
                samples[number] = samples[2 * number]
        self.kept.fill_(left)
        self.stride.mul_(2)
        for samples, factors, bias in (
            (self.user_samples, self.user_factors, self.user_bias),
            (self.item_samples, self.item_factors, self.item_bias),
        ):
            mean = samples[:left].mean(0)
            factors.weight.copy_(mean[:, 1:])
            bias.weight.copy_(mean[:, :1])

    @torch.no_grad()
    def append(self, side: Side, rows: Tensor) -> None:
        """Add rows behind those of a side, as noisy as the typical one.

        Args:
            side: of users or of items.
            rows: float [kept samples, n, 1 + factors], bias first.
        """
        name = "user" if side == "users" else "item"
        samples: Tensor = getattr(self, f"{name}_samples")
        further = samples.new_zeros(len(samples), rows.shape[1], rows.shape[2])
        further[: len(rows)] = rows.to(samples)
        setattr(self, f"{name}_samples", torch.cat([samples, further], dim=1))
        noise: Tensor = getattr(self, f"{name}_noise")
        typical = noise[1:].mean().expand(rows.shape[1])
        setattr(self, f"{name}_noise", torch.cat([noise, typical]))

    def rate(self, rows: Rows, batch: RatingBatch, effects: Tensor | None = None) -> Tensor:
        """Predicted ratings of mean factors, for rows that are not the model's own.

        Args:
            rows: from `embed`, or of `effective_tables`.
            batch: the batch they are of.
            effects: from `embed`; None: the days are not known.

        Returns:
            float [B], in rating units; close to `forward`, which averages predictions instead.
        """
        users, items = rows["embeddings"]
        user_bias, item_bias = rows["biases"]
        raw = self.mean_rating + (users * items).sum(1) + (user_bias + item_bias).squeeze(1)
        return raw if effects is None else raw + effects.sum(1)

    def fill_unknown_rows(self) -> None:
        """Nothing: the unknown row of each sample is the mean of its prior."""

    def numpy_formula(self) -> tuple[str, ...]:
        """Dot product, biases, mean rating."""
        return (*BIASED_DOT_PRODUCT, 'rating = tensors["mean_rating"] + raw')

    def export_tables(self) -> Tables:
        """The factors of all samples side by side: one dot product is the mean of the samples'."""
        tables, count = self.effective_tables(), int(self.kept)
        if count:
            tables["embeddings"] = {
                "users": self.user_samples[:count, :, 1:].transpose(0, 1).flatten(1) * (1 / count),
                "items": self.item_samples[:count, :, 1:].transpose(0, 1).flatten(1),
            }
        return tables

    def item_scores(self) -> SampleMeanScores:
        """Means over the samples."""
        samples = self.user_samples[: int(self.kept)], self.item_samples[: int(self.kept)]
        return SampleMeanScores(self.effective_tables(), self.rate_rows, samples, self.mean_rating)

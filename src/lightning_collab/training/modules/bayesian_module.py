"""Factors by Gibbs sampling: one epoch is one sweep."""

from typing import Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.features import FeatureSet
from lightning_collab.metrics.ratings import IntervalCoverage
from lightning_collab.models.bayesian_factors import BayesianFactors
from lightning_collab.training.modules.base_module import BaseModule
from lightning_collab.training.solvers.gibbs_sampler import GibbsSampler, check_memory


class BayesianModule(BaseModule):
    """Gibbs sampling inside Lightning's loop.

    The sampler is an optimizer under manual optimization; its batch is the whole training part. The
    training loss is that of the latest sample; the validation numbers are those of the average over
    the samples so far.

    Args:
        model: takes the samples.
        features: of users and items, and effects of time; None: those of the data module that the
            trainer is given.
        seed: of the chain.
        threads: of the kernels; None: all there are.
        of_run: see `BaseModule`.

    Raises:
        TrainingError: the samples, or blocks of features, need more memory than there is.

    Example:
        >>> data = lightning_collab.RatingDataModule.from_frame(frame, batch_size="full")
        >>> model = lightning_collab.BayesianFactors.for_data(data, factors=4, burn_in=5)
        >>> module = lightning_collab.BayesianModule(model)
        >>> pl.Trainer(max_epochs=15).fit(module, datamodule=data)
    """

    model: BayesianFactors
    automatic_optimization = False
    trained_by = "gibbs"
    takes_all_at_once = True

    def __init__(
        self,
        model: BayesianFactors,
        *,
        features: FeatureSet | None = None,
        seed: int = 42,
        threads: int | None = None,
        **of_run: Any,
    ) -> None:
        super().__init__(model, **of_run)
        if features is not None:
            check_memory(model, features)
        self._seed, self._threads = seed, threads
        self._features = features
        self._averages: dict[int, RunningAverage] = {}
        self.val_coverage = IntervalCoverage("val/")
        self.test_coverage = IntervalCoverage("test/")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The sampler."""
        features = self._features
        if features is None:
            features = self.data.features
            check_memory(self.model, features)
        return GibbsSampler(self.model, features, seed=self._seed, threads=self._threads)

    def training_step(self, batch: RatingBatch, batch_idx: int) -> None:
        """One sweep."""
        sampler: Any = self.optimizers()
        with self.in_full_precision():
            sampler.step(closure=lambda: batch)
        chain = sampler.optimizer.chain
        squared_error = torch.tensor(chain.squared_error, dtype=torch.float64)
        self.count_loss(squared_error.to(self.device), len(batch.ratings))
        self.log_dict({f"chain/{name}": value for name, value in chain.traces().items()})
        self.log("chain/samples", self.model.kept.float())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add a batch to the validation metrics; in training at the cost of one sample."""
        if self.trainer.state.fn != TrainerFn.FITTING:
            predicted, deviations = self.model.predict_with_deviation(batch)
            self.val_coverage.update(predicted, deviations, batch.ratings)
        else:
            average = self._averages.setdefault(batch_idx, RunningAverage())
            predicted = average.predict(self.model, batch)
        self.val_loss.update(predicted, batch.ratings)
        self.val_metrics.update(predicted.clamp(*self.rating_range), batch)

    def on_validation_epoch_end(self) -> None:
        """Log and reset the validation metrics, and coverage where it was measured."""
        super().on_validation_epoch_end()
        self._log_coverage(self.val_coverage)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Add a batch to the test metrics."""
        predicted, deviations = self.model.predict_with_deviation(batch)
        self.test_coverage.update(predicted, deviations, batch.ratings)
        self.test_metrics.update(predicted.clamp(*self.rating_range), batch)

    def on_test_epoch_end(self) -> None:
        """Log and reset the test metrics and coverage."""
        super().on_test_epoch_end()
        self._log_coverage(self.test_coverage)

    def _log_coverage(self, coverage: IntervalCoverage) -> None:
        if coverage.update_called and coverage.rows > 0:
            self.log_dict(coverage.compute())
            coverage.reset()

    def advice_on_divergence(self) -> str:
        """What to do when the loss is no longer a number."""
        return "the chain has diverged: lower model.factors, or try another seed"


class RunningAverage:
    """The average prediction of one batch over the samples so far, a sample at a time."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._seen = (0, 1)

    def predict(self, model: BayesianFactors, batch: RatingBatch) -> Tensor:
        """What `model(batch)` gives, from the sum that is kept and the samples since.

        Args:
            model: with its samples.
            batch: always the same one.

        Returns:
            float [B].
        """
        count, stride = int(model.kept), int(model.stride)
        if count == 0:
            return model(batch)  # type: ignore[no-any-return]
        known, known_stride = self._seen
        if self._total is None or stride != known_stride or count < known:
            self._total = model.sum_of_samples(batch, 0, count)
        else:
            self._total = self._total + model.sum_of_samples(batch, known, count)
        self._seen = (count, stride)
        return model.mean_of(self._total, count)

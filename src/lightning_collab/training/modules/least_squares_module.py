"""Factors by linear regression: one epoch is one sweep over users and items."""

import torch
from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models.factors import LeastSquaresFactors
from lightning_collab.training.modules.base_module import BaseModule
from lightning_collab.training.solvers.least_squares import AlternatingLeastSquares


class LeastSquaresModule(BaseModule):
    """Alternating ridge regression inside Lightning's loop.

    The solver is an optimizer under manual optimization, so that checkpoints, step counts and
    resume work as for any other model. Its batch is the whole training part.

    Example:
        >>> data = lightning_collab.RatingDataModule.from_frame(frame, batch_size="full")
        >>> model = lightning_collab.LeastSquaresFactors.for_data(data, factors=4)
        >>> module = lightning_collab.LeastSquaresModule(model)
        >>> pl.Trainer(max_epochs=3).fit(module, datamodule=data)
    """

    model: LeastSquaresFactors
    automatic_optimization = False
    trained_by = "least_squares"
    takes_all_at_once = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The solver."""
        return AlternatingLeastSquares(self.model)

    def training_step(self, batch: RatingBatch, batch_idx: int) -> None:
        """One sweep; the training loss is that of the factors it ends with."""
        solver = self.optimizers()
        solver.step(closure=lambda: batch)  # type: ignore[union-attr]
        with torch.no_grad():
            squared_errors: Tensor = (self.model(batch) - batch.ratings).square().sum()
        self.count_loss(squared_errors, len(batch.ratings))

    def advice_on_divergence(self) -> str:
        """What to do when the loss is no longer a number."""
        return "the regressions have no solution: raise model.penalty"

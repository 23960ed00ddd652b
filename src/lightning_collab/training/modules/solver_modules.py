"""Models that are solved for: by regression or iALS, a sweep an epoch, and EASE, at once."""

from typing import Any

import torch
from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models.ease import Ease
from lightning_collab.models.factors import ImplicitFactors, LeastSquaresFactors
from lightning_collab.training.modules.base_module import BaseModule
from lightning_collab.training.solvers.least_squares import AlternatingLeastSquares, ClosedForm


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
        solver: Any = self.optimizers()
        with self.in_full_precision():
            solver.step(closure=lambda: batch)
        with torch.no_grad():
            squared_errors: Tensor = (self.model(batch) - batch.ratings).square().sum()
        self.count_loss(squared_errors, len(batch.ratings))

    def advice_on_divergence(self) -> str:
        """What to do when the loss is no longer a number."""
        return "the regressions have no solution: raise model.penalty"


class ImplicitModule(BaseModule):
    """Implicit alternating least squares, or EASE, inside Lightning's loop.

    The solver is an optimizer under manual optimization, so that checkpoints, step counts and
    resume work as for any other model. It learns from the chosen pairs of the training part.

    Example:
        >>> data = lightning_collab.RatingDataModule.from_frame(frame, batch_size="full")
        >>> model = lightning_collab.ImplicitFactors.for_data(data, factors=4)
        >>> module = lightning_collab.ImplicitModule(model)
        >>> pl.Trainer(max_epochs=3, limit_val_batches=0).fit(module, datamodule=data)
    """

    model: ImplicitFactors | Ease
    automatic_optimization = False
    trained_by = "implicit"
    takes_all_at_once = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The solver."""
        # numba takes a while to import.
        from lightning_collab.training.solvers.implicit_least_squares import ImplicitLeastSquares

        data = self.data
        chosen = data.chosen(data.rows.train, self.model.config.positives)
        if isinstance(self.model, Ease):
            return ClosedForm(self.model, chosen)
        return ImplicitLeastSquares(self.model, chosen)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One sweep; the training loss is the objective that it ends with, over chosen pairs."""
        solver: Any = self.optimizers()
        with self.in_full_precision():
            solver.step()
        self.count_loss(torch.tensor(solver.loss, dtype=torch.float64), 1)

    def advice_on_divergence(self) -> str:
        """What to do when the loss is no longer a number."""
        return "the regressions have no solution: raise model.regularization"

"""Training by autograd whose forward and backward pass torch has compiled."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_collab.compat import compiler_error
from lightning_collab.data.batches import RatingBatch
from lightning_collab.training.modules.gradient_module import GradientModule

log = logging.getLogger(__name__)


class CompiledModule(GradientModule):
    """The steps of `GradientModule` with squared errors, penalty and their gradients compiled.

    Sizes are left open, so that the last batch of an epoch, which is smaller, compiles nothing.
    Where the compiler fails, the run says so and goes on without it.
    """

    def __init__(self, *args: Any, **built_with: Any) -> None:
        super().__init__(*args, **built_with)
        # In a tuple, so that it is no submodule and the checkpoint is that of any engine.
        self._compiled: tuple[Callable[..., tuple[Tensor, Tensor]]] | None = (
            torch.compile(self._errors_and_total, dynamic=True),
        )

    def _errors_and_total(self, batch: RatingBatch) -> tuple[Tensor, Tensor]:
        """Sum of squared errors, and the same with the penalty."""
        embedded = self.model.embed(batch)
        rated = self.model.rate(embedded.rows, batch, embedded.effects)
        squared_errors = (rated - batch.ratings).square().sum()
        return squared_errors, squared_errors + self._penalty(embedded, len(batch.ratings))

    def training_step(self, batch: RatingBatch, batch_idx: int) -> Tensor:
        """The loss of this rank's share, scaled so that the mean over ranks is the batch's mean."""
        squared_errors, total = self._by_compiler(batch)
        self.count_squared_errors(squared_errors, len(batch.ratings))
        return total * (self.trainer.world_size / batch.whole_size)

    def _by_compiler(self, batch: RatingBatch) -> tuple[Tensor, Tensor]:
        if self._compiled is not None:
            try:
                return self._compiled[0](batch)
            except compiler_error() as error:
                reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
                log.warning("torch.compile failed, so the run goes on without it: %s", reason)
                self._compiled = None
        return self._errors_and_total(batch)

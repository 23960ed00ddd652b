"""Training by gradient descent: mean squared error, autograd, any optimizer and schedule."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lightning_collab.compat import compiler_error
from lightning_collab.config import RunConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import RatingModel
from lightning_collab.models.rating_model import EmbeddedBatch
from lightning_collab.runs.invocation import called_as
from lightning_collab.training.modules.rating_module import RatingModule
from lightning_collab.training.optimizers import build_optimizer, parameter_groups
from lightning_collab.training.schedules import Schedule, build_schedule
from lightning_collab.training.sharding.sharded_table import is_sharded, shard_tables
from lightning_collab.training.sharding.strategy import RowShardingStrategy

log = logging.getLogger(__name__)


class GradientModule(RatingModule):
    """Mean squared error by gradient descent on batches.

    Args:
        model: what is trained.
        config: of the run.
        steps_per_epoch: optimizer steps in an epoch, which schedules count in.
        schedule: in place of the config's.
        of_data: what `RatingModule` is told of the data.
    """

    def __init__(
        self,
        model: RatingModel,
        config: RunConfig,
        *,
        steps_per_epoch: int,
        schedule: Schedule | None = None,
        **of_data: Any,
    ) -> None:
        super().__init__(model, config, **of_data)
        self.steps_per_epoch = steps_per_epoch
        self.schedule = schedule or build_schedule(
            config.scheduler,
            lr=config.optimizer.lr,
            steps_per_epoch=steps_per_epoch,
            max_epochs=config.trainer.max_epochs,
        )
        for tables in model.lookup_tables().values():
            for table in tables.values():
                table.sparse = config.optimizer.sparse_gradients
        on_rows = config.optimizer.decay == "per_row"
        groups = parameter_groups(model, config.optimizer)
        self._row_decay = {
            each["name"]: each["weight_decay"]
            for each in groups
            if each["weight_decay"] and on_rows
        }

    def configure_model(self) -> None:
        """Split the tables over the ranks where the strategy asks for it, once."""
        strategy = self.trainer.strategy
        if isinstance(strategy, RowShardingStrategy) and not is_sharded(self.model):
            shard_tables(self.model, strategy.row_mesh)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over the named groups, its rates following the schedule at each step."""
        groups = parameter_groups(self.model, self.config.optimizer)
        optimizer = build_optimizer(groups, self.config.optimizer)
        # A plain function: LambdaLR would keep anything else in the checkpoint.
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.schedule(step))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def training_step(self, batch: RatingBatch, batch_idx: int) -> Tensor:
        """The loss of this rank's share, scaled so that the mean over ranks is the batch's mean."""
        squared_errors, total = self.errors_and_total(batch)
        self.count_squared_errors(squared_errors, len(batch.ratings))
        return total * (self.trainer.world_size / batch.whole_size)

    def errors_and_total(self, batch: RatingBatch) -> tuple[Tensor, Tensor]:
        """Sum of squared errors, and the same with the penalty.

        Args:
            batch: this rank's share.
        """
        embedded = self.model.embed(batch)
        rated = self.model.rate(embedded.rows, batch, embedded.effects)
        squared_errors = (rated - batch.ratings).square().sum()
        return squared_errors, squared_errors + self._penalty(embedded, len(batch.ratings))

    def _penalty(self, embedded: EmbeddedBatch, count: int) -> Tensor | float:
        """Weight decay that is on the rows a batch touches: decay / 2 * |row|^2 for each rating.

        The gradient on a row is decay * row times the share of the batch's ratings that touch it;
        the layers that every rating touches are decayed as by the form `gradient`.
        """
        penalty: Tensor | float = 0.0
        touched = self.model.touched_squares(embedded) if self._row_decay else {}
        for name, decay in self._row_decay.items():
            if name in touched:
                squares = touched[name]
            else:
                parameters = self.model.parameter_groups()[name]
                squares = torch.stack([each.square().sum() for each in parameters]).sum() * count
            penalty = penalty + decay / 2 * squares
        return penalty

    def advice_on_divergence(self) -> str:
        """What to do when the loss is no longer a number."""
        return (
            f"the learning rate {self.config.optimizer.lr:g} is too high for this model: lower "
            f"optimizer.lr, or let {called_as('find-lr')} suggest one"
        )


class CompiledModule(GradientModule):
    """The steps of `GradientModule` with squared errors, penalty and their gradients compiled.

    Sizes are left open, so that the last batch of an epoch, which is smaller, compiles nothing.
    Where the compiler fails, the run says so and goes on without it.
    """

    def __init__(self, *args: Any, **built_with: Any) -> None:
        super().__init__(*args, **built_with)
        # In a tuple, so that it is no submodule and the checkpoint is that of any engine.
        self._compiled: tuple[Callable[..., tuple[Tensor, Tensor]]] | None = (
            torch.compile(super().errors_and_total, dynamic=True),
        )

    def errors_and_total(self, batch: RatingBatch) -> tuple[Tensor, Tensor]:
        """The same, compiled."""
        if self._compiled is not None:
            try:
                return self._compiled[0](batch)
            except compiler_error() as error:
                reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
                log.warning("torch.compile failed, so the run goes on without it: %s", reason)
                self._compiled = None
        return super().errors_and_total(batch)

"""Training by fused kernels: a block of batches at each of Lightning's steps."""

import logging
from bisect import bisect_right
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities.types import OptimizerLRScheduler

from lightning_collab.compat import count_further_batches, count_further_scheduler_steps
from lightning_collab.config.data import ratings_in_batch
from lightning_collab.config.optimizer import WarmRestartsConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.training.fused.fused_optimizer import FusedSteps, StepBlock
from lightning_collab.training.modules.gradient_module import GradientModule
from lightning_collab.training.optimizers import parameter_groups
from lightning_collab.training.schedules import factors

log = logging.getLogger(__name__)

# Ratings in a block of steps: a tenth of a second or so, after which Ctrl-C is heard.
BLOCK_RATINGS = 1 << 18

# Features of a batch's users and items that cost about as much as a rating of it.
FEATURES_PER_RATING = 16


class FusedModule(GradientModule):
    """The steps of `GradientModule`, many at a time and without autograd.

    `training_step` gets the ratings of several batches; what it does is what as many steps of
    `GradientModule` would do, to float rounding. Lightning's counts are moved on by as many steps.

    Attributes:
        single_steps: whether each step of Lightning is one batch, for whoever looks at each loss.
    """

    automatic_optimization = False
    single_steps = False

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over the named groups; its rates are set after each block of steps."""
        threads = self.config.training.sgd_threads
        if threads > 1:
            log.warning(
                "training.sgd_threads=%d: steps are taken in another order than by one thread, "
                "so that the numbers are those of this many threads",
                threads,
            )
        optimizer = FusedSteps(
            parameter_groups(self.model, self.config.optimizer),
            self.config.optimizer,
            self.model,
            lazy=self.config.training.row_updates == "lazy",
            clip=self.config.trainer.gradient_clip_val,
            threads=threads,
        )
        # A plain function: LambdaLR would keep anything else in the checkpoint.
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.schedule(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}}

    def setup(self, stage: str) -> None:
        """Ask the data for several batches at a time."""
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and data is not None:
            data.block_end = self.block_end

    def teardown(self, stage: str) -> None:
        """Leave the data as it was."""
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and data is not None:
            data.block_end = None

    def block_end(self, epoch: int, batch: int) -> int:
        """Where a block of steps ends that begins with a batch of an epoch.

        It ends with the epoch, with a cycle of the schedule (whose checkpoint is of that step) and
        after so many ratings that catching up all rows costs little beside it; fewer where they
        have many features.

        Args:
            epoch: counted from 0.
            batch: the first of the block of steps, counted from 0.

        Returns:
            The batch before which it ends.
        """
        if self.single_steps:
            return batch + 1
        size, per_epoch = self.config.batch_size, self.steps_per_epoch
        if size == "full":
            return per_epoch
        rows = sum(len(table.weight) for table in self._tables())
        ratings = max(BLOCK_RATINGS, 2 * rows) / self._cost_of_features(size)
        if self.config.training.sgd_threads > 1:
            # Single ratings are quick, and repartitioning needs a thread barrier.
            ratings *= 4
        end = min(per_epoch, batch + max(1, int(ratings) // size))
        start = epoch * per_epoch
        following = bisect_right(self._cycle_ends, start + batch)
        if following < len(self._cycle_ends):
            end = min(end, self._cycle_ends[following] - start)
        return end

    def _tables(self) -> list[torch.nn.Embedding]:
        groups = (self.model.lookup_tables(), self.model.mapping_tables())
        return [table for tables in groups for table in tables.get("embeddings", {}).values()]

    def _cost_of_features(self, batch_size: int) -> float:
        """How many times as much a rating costs as it would without features, roughly."""
        entries = 0.0
        for features in self.model.features().values():
            # Who has many features is often met: of histories, as often as there are features.
            lengths = features.indptr.diff()[1:].double()
            met = batch_size * lengths.square().sum() / lengths.sum().clamp(min=1)
            entries += min(float(met), float(lengths.sum()))
        return 1 + entries / batch_size / FEATURES_PER_RATING

    @property
    def _cycle_ends(self) -> list[int]:
        """Optimizer steps at which a cycle of the schedule ends, ascending."""
        scheduler = self.config.scheduler
        if not isinstance(scheduler, WarmRestartsConfig):
            return []
        ends = scheduler.cycle_ends(self.config.trainer.max_epochs)
        return [round(end * self.steps_per_epoch) for end in ends]

    def training_step(self, batch: RatingBatch, batch_idx: int) -> dict[str, Any]:  # type: ignore[override]
        """Take the steps of a block.

        Returns:
            `loss` of the last step, with its penalty.
        """
        batch_size = ratings_in_batch(self.config.batch_size, len(batch.ratings))
        steps = -(-len(batch.ratings) // batch_size)
        scheduler: Any = self.lr_schedulers()
        first = scheduler.last_epoch
        following = factors(self.schedule, first, steps)
        step_block = StepBlock(batch, batch_size, following, self.single_steps)
        optimizer: Any = self.optimizers()
        optimizer.step(closure=lambda: step_block)
        losses = optimizer.losses
        self._squared_errors += losses.squared_errors.sum()
        self._rows_seen += len(batch.ratings)
        if losses.taken < steps and self.stops_on_divergence:
            count_further_steps(self.trainer, losses.taken)
            self._stop("the training loss is no longer a number")
        scheduler.last_epoch = first + steps - 1
        count_further_scheduler_steps(scheduler, steps - 1)
        scheduler.step()
        count_further_steps(self.trainer, steps - 1)
        self._log_rates(first, following)
        last = len(batch.ratings) - (steps - 1) * batch_size
        loss = losses.squared_errors[-1] / last + losses.penalties[-1:].sum()
        return {"loss": torch.tensor(loss)}

    def on_train_batch_end(self, outputs: Any, batch: RatingBatch, batch_idx: int) -> None:
        """Look whether the loss explodes; the kernels have seen whether it is a number."""
        self._stop_if_diverged()

    def _log_rates(self, first: int, following: NDArray[np.float64]) -> None:
        """The points of the learning-rate curves that Lightning's monitor would log one by one."""
        if not self.trainer.loggers:
            return
        optimizer: Any = self.optimizers()
        every = self.config.trainer.log_every_n_steps
        for step in range(first + (-first - 1) % every, first + len(following), every):
            rates = {
                f"lr-{optimizer.name}/{group['name']}": group["initial_lr"]
                * following[step - first]
                for group in optimizer.param_groups
            }
            for logger in self.trainer.loggers:
                logger.log_metrics(rates, step=step)


def count_further_steps(trainer: pl.Trainer, further: int) -> None:
    """Count more batches and optimizer steps, as if Lightning had taken them one by one.

    So everything that goes by these counts (the end of an epoch, logging, checkpoints, progress,
    resume) is the same for every engine. To be called in `training_step`, after the optimizer.

    Args:
        trainer: in the middle of a training step.
        further: batches beyond the one that Lightning knows of.
    """
    loop = trainer.fit_loop.epoch_loop
    for progress in (loop.batch_progress.total, loop.batch_progress.current):
        for name in ("ready", "started", "processed", "completed"):
            setattr(progress, name, getattr(progress, name) + further)
    steps = loop.manual_optimization.optim_step_progress
    for counted in (steps.total, steps.current):
        counted.ready += further
        counted.completed += further
    count_further_batches(trainer, further)

"""The LightningModule that trains any model of ratings by autograd."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from lightning_collab.config import RunConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import CheckpointError, TrainingError
from lightning_collab.models import RatingModel
from lightning_collab.training.optimizers import build_optimizer
from lightning_collab.training.parameter_groups import parameter_groups
from lightning_collab.training.schedules import build_schedule


class RatingModule(pl.LightningModule):
    """Mean squared error by gradient descent; RMSE and MAE on predictions clamped to the scale.

    Args:
        model: what is trained.
        config: of the run.
        rating_range: lowest and highest rating, to which predictions are clamped in metrics.
        steps_per_epoch: optimiser steps in an epoch, which schedules count in.
        vocabularies: `users` and `items`, kept in each checkpoint.
    """

    def __init__(
        self,
        model: RatingModel,
        config: RunConfig,
        *,
        rating_range: tuple[float, float],
        steps_per_epoch: int,
        vocabularies: dict[str, Vocabulary],
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.rating_range = rating_range
        self.steps_per_epoch = steps_per_epoch
        self.vocabularies = vocabularies
        self._groups = parameter_groups(model, config.optimizer)
        self._row_decay = (
            {
                group["name"]: group["weight_decay"]
                for group in self._groups
                if group["weight_decay"]
            }
            if config.optimizer.decay == "touched_rows"
            else {}
        )
        metrics = MetricCollection(
            {
                "rmse": MeanSquaredError(squared=False),
                "mae": MeanAbsoluteError(),
            }
        )
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        self.val_loss = MeanSquaredError()
        # The sum of squared errors of the epoch under way stays on the device: reading it at each
        # step would make the processor wait.
        self._squared_errors = torch.zeros((), dtype=torch.float64)
        self._rows_seen = 0

    def forward(self, batch: RatingBatch) -> Tensor:
        """Predicted ratings, float [B], not clamped."""
        rating: Tensor = self.model(batch)
        return rating

    def on_train_start(self) -> None:
        """Move the sums of a resumed epoch to the device."""
        self._squared_errors = self._squared_errors.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Start the sums of the epoch."""
        self._squared_errors.zero_()
        self._rows_seen = 0

    def training_step(self, batch: RatingBatch, batch_idx: int) -> Tensor:
        """The loss of this rank's share, scaled so that the mean over ranks is the batch's mean."""
        rows = self.model.embed(batch)
        squared_errors = (self.model.rate(rows, batch) - batch.ratings).square().sum()
        self._squared_errors += squared_errors.detach()
        self._rows_seen += len(batch.ratings)
        total = squared_errors + self._penalty(rows, len(batch.ratings))
        return total * (self.trainer.world_size / batch.whole_size)

    def _penalty(self, rows: dict[str, tuple[Tensor, Tensor]], count: int) -> Tensor | float:
        """Weight decay that is on the rows a batch touches: decay / 2 * |row|^2 for each rating.

        The gradient on a row is decay * row times the share of the batch's ratings that touch it;
        the layers that every rating touches are decayed as by the form `gradient`.
        """
        penalty: Tensor | float = 0.0
        for name, decay in self._row_decay.items():
            if name in rows:
                squares = torch.stack([each.square().sum() for each in rows[name]]).sum()
            else:
                parameters = self.model.parameter_groups()[name]
                squares = torch.stack([each.square().sum() for each in parameters]).sum() * count
            penalty = penalty + decay / 2 * squares
        return penalty

    def on_train_batch_end(self, outputs: Any, batch: RatingBatch, batch_idx: int) -> None:
        """Look now and then whether the loss is still a number."""
        if (batch_idx + 1) % self.config.trainer.log_every_n_steps == 0:
            self._stop_if_diverged()

    def on_train_epoch_end(self) -> None:
        """Log the mean loss of the epoch over all ranks."""
        self._stop_if_diverged()
        self.model.fill_unknown_rows()
        sums = torch.stack([self._squared_errors, self._squared_errors.new_tensor(self._rows_seen)])
        sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        self.log("train/loss", (sums[0] / sums[1]).float())

    def _stop_if_diverged(self) -> None:
        if not torch.isfinite(self._squared_errors):
            raise TrainingError(
                f"the training loss is no longer a number at step {self.global_step} "
                f"(epoch {self.current_epoch}): the learning rate {self.config.optimizer.lr} is "
                "too high for this model; lower optimizer.lr"
            )

    def on_validation_start(self) -> None:
        """Unknown users and items are predicted from the known ones."""
        self.model.fill_unknown_rows()

    def validation_step(self, batch: RatingBatch, batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        predicted = self.model(batch)
        self.val_loss.update(predicted, batch.ratings)
        self.val_metrics.update(predicted.clamp(*self.rating_range), batch.ratings)

    def on_validation_epoch_end(self) -> None:
        """Log and reset the validation metrics: val/rmse, val/mae, and val/loss (not clamped)."""
        self.log_dict({"val/loss": self.val_loss.compute(), **self.val_metrics.compute()})
        self.val_loss.reset()
        self.val_metrics.reset()

    def test_step(self, batch: RatingBatch, batch_idx: int) -> None:
        """Add a batch to the test metrics."""
        self.test_metrics.update(self.model(batch).clamp(*self.rating_range), batch.ratings)

    def on_test_epoch_end(self) -> None:
        """Log and reset the test metrics: test/rmse, test/mae."""
        self.log_dict(self.test_metrics.compute())
        self.test_metrics.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over the named groups, its rates following the schedule at each step."""
        optimizer = build_optimizer(self._groups, self.config.optimizer)
        schedule = build_schedule(
            self.config.scheduler,
            lr=self.config.optimizer.lr,
            steps_per_epoch=self.steps_per_epoch,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a resumed run and a later user need beyond Lightning's own state."""
        checkpoint["vocabularies"] = {
            side: vocabulary.state() for side, vocabulary in self.vocabularies.items()
        }
        checkpoint["config"] = self.config.model_dump(mode="json")
        checkpoint["rating_range"] = list(self.rating_range)
        checkpoint["epoch_sums"] = {
            "squared_errors": self._squared_errors,
            "rows_seen": self._rows_seen,
        }
        checkpoint["rng_state"] = _rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back the sums of the epoch under way and the state of torch's random numbers."""
        self._check_vocabularies(checkpoint)
        self._squared_errors = checkpoint["epoch_sums"]["squared_errors"].to(torch.float64)
        self._rows_seen = checkpoint["epoch_sums"]["rows_seen"]
        _set_rng_state(checkpoint["rng_state"])

    def load_trained(self, checkpoint: dict[str, Any], path: Path) -> None:
        """Take the weights of a checkpoint.

        Args:
            checkpoint: its content.
            path: where it came from, for error messages.

        Raises:
            CheckpointError: it is of another model or of other data.
        """
        try:
            self._check_vocabularies(checkpoint)
            self.load_state_dict(checkpoint["state_dict"])
        except (CheckpointError, RuntimeError) as error:
            raise CheckpointError(f"{path}: {error}") from error

    def _check_vocabularies(self, checkpoint: dict[str, Any]) -> None:
        for side, vocabulary in self.vocabularies.items():
            found = Vocabulary.from_state(checkpoint["vocabularies"][side])
            if found != vocabulary:
                raise CheckpointError(
                    f"the checkpoint is of other data: it knows {len(found) - 1} {side}, the "
                    f"training part here has {len(vocabulary) - 1}, and they are not the same "
                    "ids; use the data and the split that the run was trained with"
                )


def _rng_state() -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _set_rng_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])

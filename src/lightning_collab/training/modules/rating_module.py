"""What every LightningModule of a rating model shares: metrics, checkpoints, unknown rows."""

import math
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import MeanSquaredError

from lightning_collab.config import RunConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import CheckpointError, TrainingError
from lightning_collab.metrics.further import RunMetrics
from lightning_collab.models import RatingModel

# Training stops when predictions are wrong by so many times the scale, in the mean.
EXPLODED = 100


class RatingModule(pl.LightningModule):
    """Measures RMSE and MAE on predictions clamped to the scale; subclasses train.

    Args:
        model: what is trained.
        config: of the run.
        rating_range: lowest and highest rating, to which predictions are clamped in metrics.
        vocabularies: `users` and `items`, kept in each checkpoint.
    """

    def __init__(
        self,
        model: RatingModel,
        config: RunConfig,
        *,
        rating_range: tuple[float, float],
        vocabularies: dict[str, Vocabulary],
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.rating_range = rating_range
        self.vocabularies = vocabularies
        self.val_metrics = RunMetrics("val/", config.metrics.further)
        self.test_metrics = RunMetrics("test/", config.metrics.further)
        self.val_loss = MeanSquaredError()
        # The sum of squared errors of the epoch under way stays on the device: reading it at each
        # step would make the CPU wait.
        self._squared_errors = torch.zeros((), dtype=torch.float64)
        self._rows_seen = 0
        # Whether a loss that is no number ends the run, as it should but in a range test.
        self.stops_on_divergence = True

    def forward(self, batch: RatingBatch) -> Tensor:
        """Predicted ratings, float [B], not clamped."""
        rating: Tensor = self.model(batch)
        return rating

    def count_squared_errors(self, squared_errors: Tensor, rows: int) -> None:
        """Add a batch to the training loss of the epoch.

        Args:
            squared_errors: their sum, a scalar.
            rows: how many they are.
        """
        self._squared_errors += squared_errors.detach()
        self._rows_seen += rows

    def on_train_start(self) -> None:
        """Move the sums of a resumed epoch to the device."""
        self._squared_errors = self._squared_errors.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Start the sums of the epoch."""
        self._squared_errors.zero_()
        self._rows_seen = 0

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
        if not self.stops_on_divergence:
            return
        loss = float(self._squared_errors) / max(self._rows_seen, 1)
        if not math.isfinite(loss):
            self._stop("the training loss is no longer a number")
        low, high = self.rating_range
        impossible = float((EXPLODED * max(abs(low), abs(high), high - low)) ** 2)
        if loss > impossible:
            self._stop(
                f"the training loss is exploding: {loss:.3g}, where predictions wrong by "
                f"{EXPLODED} times the scale would have {impossible:.3g}"
            )

    def _stop(self, why: str) -> NoReturn:
        raise TrainingError(
            f"{why} at step {self.global_step} (epoch {self.current_epoch + 1}); "
            f"{self.advice_on_divergence()}"
        )

    def advice_on_divergence(self) -> str:
        """What to do when the loss is no longer a number."""
        raise NotImplementedError

    def on_validation_start(self) -> None:
        """Unknown users and items are predicted from the known ones."""
        self.model.fill_unknown_rows()

    def validation_step(self, batch: RatingBatch, batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        predicted = self.model(batch)
        self.val_loss.update(predicted, batch.ratings)
        self.val_metrics.update(predicted.clamp(*self.rating_range), batch)

    def on_validation_epoch_end(self) -> None:
        """Log and reset the validation metrics: val/rmse, val/mae, and val/loss (not clamped)."""
        self.log_dict({"val/loss": self.val_loss.compute(), **self.val_metrics.compute()})
        self.val_loss.reset()
        self.val_metrics.reset()

    def test_step(self, batch: RatingBatch, batch_idx: int) -> None:
        """Add a batch to the test metrics."""
        self.test_metrics.update(self.model(batch).clamp(*self.rating_range), batch)

    def on_test_epoch_end(self) -> None:
        """Log and reset the test metrics: test/rmse, test/mae, and of warm and cold rows."""
        self.log_dict(self.test_metrics.compute())
        self.test_metrics.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a resumed run and a later user need beyond Lightning's own state.

        Raises:
            TrainingError: the last step made a parameter that is no number, before a loss could
                show it; the checkpoint that was there stays.
        """
        # A sum that is finite has only finite terms, and needs no tensor of its own.
        if not all(math.isfinite(float(_local(p).sum())) for p in self.parameters()):
            self._stop("the weights are no longer numbers")
        checkpoint["vocabularies"] = {
            side: vocabulary.state() for side, vocabulary in self.vocabularies.items()
        }
        checkpoint["config"] = self.config.model_dump(mode="json")
        checkpoint["rating_range"] = list(self.rating_range)
        checkpoint["epoch_sums"] = {
            "squared_errors": self._squared_errors,
            "rows_seen": self._rows_seen,
        }
        checkpoint["rng_state"] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            checkpoint["rng_state"]["cuda"] = torch.cuda.get_rng_state_all()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back the sums of the epoch under way and the state of torch's random numbers."""
        self._check_vocabularies(checkpoint)
        carry_over_steps(checkpoint)
        self._squared_errors = checkpoint["epoch_sums"]["squared_errors"].to(torch.float64)
        self._rows_seen = checkpoint["epoch_sums"]["rows_seen"]
        state = checkpoint["rng_state"]
        torch.set_rng_state(state["cpu"].cpu())
        if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
            torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])

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


def _local(parameter: Tensor) -> Tensor:
    """This rank's part of a table that is shared out by rows; else all of it."""
    part: Tensor = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return part.detach()


def carry_over_steps(checkpoint: dict[str, Any]) -> None:
    """Make the count of optimizer steps in a checkpoint known to every engine.

    Lightning counts them in one place under automatic and in another under manual optimization.

    Args:
        checkpoint: of any engine, changed in place.
    """
    loops = checkpoint["loops"]["fit_loop"]
    done = {"ready": checkpoint["global_step"], "completed": checkpoint["global_step"]}
    automatic = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
    automatic["total"] = dict(done)
    manual = loops["epoch_loop.manual_optimization.optim_step_progress"]
    manual["total"] = dict(done)

"""Means of the weights over the training, and checkpoints at the ends of its warm restarts."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import AveragedModel

from lightning_collab.config import RunConfig
from lightning_collab.config.optimizer import EMAConfig, NoAveragingConfig, WarmRestartsConfig


class RunAveraging(WeightAveraging):
    """Lightning's averaging, for the weights of a rating model.

    Validation, checkpoints and the end of the run have the mean once it has begun; each checkpoint
    keeps the weights under training beside it, so that a resumed run continues with both.

    Lightning averages after validation where it does so by epochs, so that a best checkpoint would
    hold another mean than the one that was measured; here the last step of an epoch counts. The
    unknown rows are recomputed from the averaged known ones.

    Args:
        config: of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        settings = config.averaging
        assert not isinstance(settings, NoAveragingConfig)
        self._from_epoch = settings.from_epoch
        self._every_step = isinstance(settings, EMAConfig)
        # A block of steps ends where an epoch or a cycle does.
        self.takes_blocks = not self._every_step
        self._cycle_ends: list[float] | None = None
        # Of each further one; None: as much as any of those before.
        self._share = 1 - settings.decay if isinstance(settings, EMAConfig) else None
        if not isinstance(settings, EMAConfig) and settings.every == "cycle":
            assert isinstance(config.scheduler, WarmRestartsConfig)
            self._cycle_ends = config.scheduler.cycle_ends(config.trainer.max_epochs)
        super().__init__(use_buffers=False)
        # How many the mean is of, which to ask the device for would make the host wait.
        self._averaged = 0
        self._steps: set[int] | None = None
        self._first_step = 0
        self._updated_at = 0

    @property
    def _begun(self) -> bool:
        return self._average_model is not None and self._averaged > 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the model that is to be averaged, and work out when."""
        if stage != "fit":
            return
        with warnings.catch_warnings():
            # The tables are not split over ranks here: the config forbids both at once.
            warnings.filterwarnings("ignore", ".*overrides the configure_model.*")
            super().setup(trainer, pl_module, stage)
        steps: int = pl_module.steps_per_epoch  # type: ignore[assignment]
        self._first_step = self._from_epoch * steps
        if not self._every_step:
            ends = self._cycle_ends or range(1, (trainer.max_epochs or 0) + 1)
            self._steps = {round(end * steps) for end in ends}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """What has been done before is averaged already."""
        self._updated_at = pl_module.steps_done

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """After each step, or after the last one of an epoch or cycle."""
        done = pl_module.steps_done
        due = done > self._first_step and (self._steps is None or done in self._steps)
        # A batch whose gradient is only gathered takes no step.
        if due and done != self._updated_at:
            assert self._average_model is not None
            self._add(self._average_model, pl_module)
            self._updated_at = done

    @torch.no_grad()
    def _add(self, average: AveragedModel, module: pl.LightningModule) -> None:
        """Take one more into the mean: as torch's, which waits for the device to learn how many."""
        before = self._averaged
        share = self._share if before and self._share is not None else 1 / (before + 1)
        pairs = zip(average.module.parameters(), module.parameters(), strict=True)
        for mean, weight in pairs:
            mean.lerp_(weight, share)
        self._averaged = before + 1
        average.n_averaged += 1

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Never by Lightning's own count, which may be of blocks of steps."""
        return False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the mean in the model."""
        if self._begun:
            super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: pl.Trainer, *saved: Any) -> None:
        """Keep the mean, and the weights under training beside it."""
        if self._begun and trainer.state.fn == "fit":
            self._complete(saved[0])
            super().on_save_checkpoint(trainer, *saved)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Continue with both."""
        if "averaging_state" in checkpoint and self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
            self._averaged = int(self._average_model.n_averaged)

    def _complete(self, module: pl.LightningModule) -> None:
        """Give the mean what is no weight under training: buffers, and unknown rows."""
        assert self._average_model is not None
        mean: Any = self._average_model.module
        for ours, of_training in zip(mean.buffers(), module.buffers(), strict=True):
            ours.copy_(of_training)
        mean.model.fill_unknown_rows()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """While training, validate the mean."""
        # Lightning would put the last mean in place of a checkpoint that is measured afterwards.
        if self._begun and trainer.state.fn == "fit":
            self._complete(pl_module)
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continue training where it stood."""
        if self._begun and trainer.state.fn == "fit":
            super().on_validation_epoch_end(trainer, pl_module)


log = logging.getLogger(__name__)


def warn_of_unfinished_cycle(config: WarmRestartsConfig, max_epochs: int) -> None:
    """Say so when a run would end while the rate is still going down.

    Args:
        config: the `scheduler` section.
        max_epochs: epochs of the whole run.
    """
    ends = config.cycle_ends(max_epochs)
    if ends and abs(ends[-1] - max_epochs) < 1e-9:
        return
    beyond = config.cycle_ends(2 * config.cycle_mult * (max_epochs + config.cycle_len))
    fitting = [f"{end:g}" for end in beyond if end == round(end)]
    before = [end for end in fitting if float(end) < max_epochs][-1:]
    after = [end for end in fitting if float(end) > max_epochs][:1]
    log.warning(
        "trainer.max_epochs=%d ends in the middle of a cycle; %s would not",
        max_epochs,
        " or ".join(before + after) or "no whole number of epochs",
    )


class CycleCheckpoints(pl.Callback):
    """Keeps cycle-1.ckpt, cycle-2.ckpt, ... as they are when the rate is at its lowest.

    Args:
        folder: of the checkpoints.
    """

    # A block of steps ends where a cycle does.
    takes_blocks = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cycle_ending_at: dict[int, int] = {}
        self._saved_at = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Work out at which optimizer steps the cycles end."""
        self._cycle_ending_at = {end: n for n, end in enumerate(pl_module.cycle_ends(), 1)}
        self._saved_at = pl_module.steps_done

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Save at the last step of a cycle."""
        steps = pl_module.steps_done
        cycle = self._cycle_ending_at.get(steps)
        # A batch whose gradient is only gathered takes no step.
        if cycle is not None and steps != self._saved_at:
            self._saved_at = steps
            pl_module.model.fill_unknown_rows()
            trainer.save_checkpoint(self.folder / f"cycle-{cycle}.ckpt")

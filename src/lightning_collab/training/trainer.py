"""Lightning's Trainer as the config describes it, writing into a run directory."""

import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch.nn.parallel import DistributedDataParallel

from lightning_collab.config import RunConfig
from lightning_collab.config.optimizer import WarmRestartsConfig
from lightning_collab.errors import StorageError
from lightning_collab.runs.atomic_write import atomic_file
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import by_autograd
from lightning_collab.training.callbacks.averaging import RunAveraging
from lightning_collab.training.callbacks.cycles import CycleCheckpoints, warn_of_unfinished_cycle
from lightning_collab.training.callbacks.interrupt import SaveOnInterrupt
from lightning_collab.training.callbacks.progress import TrainingProgress
from lightning_collab.training.callbacks.rank_failures import RankFailureMonitor
from lightning_collab.training.devices import check_devices
from lightning_collab.training.loggers import build_loggers
from lightning_collab.training.sharding.strategy import RowShardingStrategy


class RunCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint under a fixed name, in a directory that may have been moved since."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the scores, with paths in today's directory."""
        before, now = state_dict["dirpath"], str(self.dirpath)
        paths = ("dirpath", "best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: state_dict[name].replace(before, now, 1) for name in paths}
        scores = state_dict["best_k_models"].items()
        best = {path.replace(before, now, 1): score for path, score in scores}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best})


class SpacedCheckpoint(RunCheckpoint):
    """A checkpoint at most every few seconds, and at the end.

    For a model whose epochs are short and whose checkpoints are large, so that writing one after
    each epoch would take longer than the training.
    """

    SECONDS = 20.0

    _due = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for the first."""
        super().on_train_start(trainer, pl_module)
        self._due = time.monotonic() + self.SECONDS

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save where the time has come."""
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if last or time.monotonic() >= self._due:
            super().on_train_epoch_end(trainer, pl_module)
            self._due = time.monotonic() + self.SECONDS


def build_trainer(
    config: RunConfig, run: RunDirectory, further: Sequence[pl.Callback] = ()
) -> pl.Trainer:
    """A Trainer with the callbacks and the logger of a run.

    Args:
        config: of the run.
        run: where checkpoints and curves go.
        further: callbacks beside those of the config.

    Raises:
        ConfigError: the machine does not have the devices that the config asks for.
    """
    return pl.Trainer(
        **_devices(config),
        max_epochs=config.trainer.max_epochs,
        log_every_n_steps=config.trainer.log_every_n_steps,
        limit_train_batches=config.trainer.limit_train_batches,
        callbacks=_callbacks(config, run, further),
        logger=build_loggers(config, run),
        default_root_dir=run.path,
        plugins=[SafeCheckpointIO()],
        enable_progress_bar=config.callbacks.progress_bar,
    )


def build_bare_trainer(
    config: RunConfig, callbacks: Sequence[pl.Callback], max_steps: int
) -> pl.Trainer:
    """A Trainer on the same devices that leaves nothing behind.

    Args:
        config: of the run.
        callbacks: what looks on.
        max_steps: optimizer steps to take.

    Raises:
        ConfigError: the machine does not have the devices that the config asks for.
    """
    return pl.Trainer(
        **_devices(config),
        max_epochs=-1,
        max_steps=max_steps,
        limit_val_batches=0,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )


def _devices(config: RunConfig) -> dict[str, Any]:
    """Where and how every Trainer of a run computes."""
    settings = config.trainer
    check_devices(settings)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return {
        "accelerator": settings.accelerator,
        "devices": settings.devices,
        "num_nodes": settings.num_nodes,
        "strategy": _strategy(config),
        "precision": settings.precision,
        # Fused steps clip on their own: Lightning does not where the optimization is manual.
        "gradient_clip_val": settings.gradient_clip_val if by_autograd(config) else None,
        # Our batches are shared out to the ranks already, and begin with no need of a rehearsal.
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
    }


def _callbacks(
    config: RunConfig, run: RunDirectory, further: Sequence[pl.Callback]
) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = [
        RankFailureMonitor(),
        SaveOnInterrupt(run.last_checkpoint),
        *further,
    ]
    if config.callbacks.progress_bar:
        callbacks.append(TrainingProgress())
    if config.averaging.name != "none":
        callbacks.append(RunAveraging(config))
    # Fused steps log their own rates, since Lightning sees only the first of each block of steps.
    if config.logger.names and by_autograd(config):
        callbacks.append(LearningRateMonitor(logging_interval="step"))
    if isinstance(config.scheduler, WarmRestartsConfig) and config.model.by_gradient:
        warn_of_unfinished_cycle(config.scheduler, config.trainer.max_epochs)
        callbacks.append(CycleCheckpoints(run.checkpoints, config.scheduler))
    if config.monitor is not None:
        stopping = config.callbacks.early_stopping
        if stopping is not None:
            callbacks.append(EarlyStopping(config.monitor, stopping.min_delta, stopping.patience))
        callbacks.append(_checkpoint(config, run, "best", monitor=config.monitor))
    # Last in the list, so that last.ckpt knows what the others have seen of its epoch.
    callbacks.append(_checkpoint(config, run, "last", monitor=None))
    return callbacks


def _checkpoint(
    config: RunConfig, run: RunDirectory, name: str, monitor: str | None
) -> RunCheckpoint:
    kind = SpacedCheckpoint if config.model.keeps_samples else RunCheckpoint
    return kind(
        run.checkpoints,
        filename=name,
        monitor=monitor,
        save_top_k=1,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )


def _strategy(config: RunConfig) -> str | Strategy:
    settings = config.trainer
    if settings.strategy != "ddp":
        return settings.strategy
    if config.model.sharded:
        return RowShardingStrategy(settings.ranks, settings.process_group_backend)
    # The buffers are constants of the model, so there is nothing to send round at each step; older
    # versions of torch name it otherwise.
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {"gradient_as_bucket_view": True, name: False}
    return DDPStrategy(process_group_backend=settings.process_group_backend, **options)


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all; reads tensors and primitives only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Replace the file at `path` by this checkpoint.

        Raises:
            StorageError: the folder cannot be written or the disk is full; a file that was there
                before is still whole.
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch reports a full disk as a RuntimeError of its own.
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            raise StorageError.of(cause, target) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint, on the CPU unless told otherwise."""
        return read_checkpoint(Path(path), map_location=map_location)

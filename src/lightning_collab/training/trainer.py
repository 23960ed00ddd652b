"""Lightning's Trainer as the config describes it, writing into a run directory."""

import inspect
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import callbacks as callbacks_of_lightning
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch.nn.parallel import DistributedDataParallel

from lightning_collab.config import RunConfig
from lightning_collab.config.optimizer import WarmRestartsConfig
from lightning_collab.errors import StorageError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import atomic_file
from lightning_collab.training.callbacks.averaging import (
    CycleCheckpoints,
    RunAveraging,
    warn_of_unfinished_cycle,
)
from lightning_collab.training.callbacks.interrupt import RankFailureMonitor, SaveOnInterrupt
from lightning_collab.training.callbacks.progress import TrainingProgress
from lightning_collab.training.loggers import build_loggers
from lightning_collab.training.parts import accelerator_of, check_devices
from lightning_collab.training.sharding.strategy import LocalStepsStrategy, RowShardingStrategy


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
        # Lightning saves it and does not take it back.
        self.current_score = state_dict["current_score"]


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
    if config.trainer.barebones:
        # Lightning refuses whatever could be called beside the loop.
        return pl.Trainer(**_arguments(config), default_root_dir=run.path)
    return pl.Trainer(
        **_arguments(config),
        callbacks=_callbacks(config, run, further),
        logger=build_loggers(config, run),
        default_root_dir=run.path,
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
    arguments = {key: value for key, value in _arguments(config).items() if key not in LIMITS}
    return pl.Trainer(
        **arguments,
        max_epochs=-1,
        max_steps=max_steps,
        limit_val_batches=0,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )


def build_measuring_trainer(config: RunConfig) -> pl.Trainer:
    """A Trainer of one process that measures as that of the run did, and leaves nothing behind.

    Args:
        config: of the run; devices that this machine does not have are done without.
    """
    settings = config.trainer
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    accelerator = accelerator_of(settings)
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    needs_gpu = settings.precision in ("16-mixed", "16-true", "transformer-engine")
    return pl.Trainer(
        accelerator="cpu" if accelerator == "cpu" else "auto",
        devices=1,
        precision="32-true" if needs_gpu and not on_gpu else settings.precision,
        limit_val_batches=settings.limit_val_batches,
        limit_test_batches=settings.limit_test_batches,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


# How long a run trains, on how much, and when it is looked at: a range test has its own answers.
LIMITS = (
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "fast_dev_run"),
    *("limit_train_batches", "limit_val_batches", "overfit_batches", "accumulate_grad_batches"),
    *("val_check_interval", "check_val_every_n_epoch", "log_every_n_steps", "profiler"),
    *("reload_dataloaders_every_n_epochs", "barebones"),
)
# Keys of the section that are not arguments of Lightning's Trainer, or not handed on as they are.
OURS = ("name", "process_group_backend", "threads", "strategy", "sync_every", "plugins")


def _arguments(config: RunConfig) -> dict[str, Any]:
    """What every Trainer of a run is made with."""
    settings = config.trainer
    check_devices(settings)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    given = {
        key: value
        for key in type(settings).model_fields
        if key not in OURS and (value := getattr(settings, key)) is not None
    }
    if settings.gradient_clip_algorithm != "value":
        # The module clips norms itself, since Lightning does not where steps are fused.
        given.pop("gradient_clip_val", None)
        given.pop("gradient_clip_algorithm", None)
    if settings.barebones:
        # Lightning has its own answers then, and refuses others.
        for key in ("log_every_n_steps", "num_sanity_val_steps", "enable_model_summary"):
            given.pop(key)
    plugins = [] if settings.keeps_nothing else [SafeCheckpointIO()]
    plugins += [instantiate(each) for each in settings.plugins]
    given["accelerator"] = accelerator_of(settings)
    return {**given, "strategy": _strategy(config), "plugins": plugins}


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
    if isinstance(config.scheduler, WarmRestartsConfig) and config.model.by_gradient:
        warn_of_unfinished_cycle(config.scheduler, config.trainer.max_epochs)
        callbacks.append(CycleCheckpoints(run.checkpoints))
    if config.monitor is not None:
        stopping = config.callbacks.early_stopping
        if stopping is not None:
            callbacks.append(
                EarlyStopping(
                    config.monitor, stopping.min_delta, stopping.patience, mode=config.monitor_mode
                )
            )
        callbacks.append(_checkpoint(config, run, "best", monitor=config.monitor))
    # Last in the list, so that last.ckpt knows what the others have seen of its epoch.
    callbacks.append(_checkpoint(config, run, "last", monitor=None))
    return callbacks


class EarlyStopping(callbacks_of_lightning.EarlyStopping):
    """Lightning's, of the same name in checkpoints, but with the patience that it is given now."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What it has seen, and not how long it waits."""
        super().load_state_dict({**state_dict, "patience": self.patience})


def _checkpoint(
    config: RunConfig, run: RunDirectory, name: str, monitor: str | None
) -> RunCheckpoint:
    kind = SpacedCheckpoint if config.model.keeps_samples else RunCheckpoint
    each_epoch = (
        config.trainer.val_check_interval is None and config.trainer.check_val_every_n_epoch == 1
    )
    return kind(
        run.checkpoints,
        filename=name,
        monitor=monitor,
        mode=config.monitor_mode,
        save_top_k=1,
        enable_version_counter=False,
        # A metric that is not of this epoch says nothing of its weights.
        save_on_train_epoch_end=each_epoch or monitor is None,
    )


def _strategy(config: RunConfig) -> str | Strategy:
    settings = config.trainer
    if settings.strategy != "ddp":
        return settings.strategy
    if config.model.sharded:
        return RowShardingStrategy(settings.ranks, settings.process_group_backend)
    if settings.sync_every > 1:
        return LocalStepsStrategy(settings.sync_every, settings.process_group_backend)
    # The buffers are constants of the model, so there is nothing to send round at each step; older
    # versions of torch name it otherwise.
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {"gradient_as_bucket_view": True, name: False}
    return DDPStrategy(process_group_backend=settings.process_group_backend, **options)


# What torch says where a file could not be written to its end.
WRITER_FAILED = re.compile(r"PytorchStreamWriter|unexpected pos|file write failed", re.I)


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
        except OSError as error:
            raise StorageError.of(error, target) from error
        except RuntimeError as error:
            # torch reports a full disk as a RuntimeError of its own; one of a device is none.
            cause = error.__context__
            if not isinstance(cause, OSError) and not WRITER_FAILED.search(str(error)):
                raise
            known = cause if isinstance(cause, OSError) else error
            raise StorageError.of(known, target) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint, on the CPU unless told otherwise."""
        return read_checkpoint(Path(path), map_location=map_location)

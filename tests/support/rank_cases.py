"""What tests run on several ranks; a module of its own, so that the ranks can import it."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.tensor import DTensor

from benchmarks.rank_process import random_batches, random_module
from lightning_collab.config import RunConfig
from lightning_collab.data.batches import RatingBatch, RatingBatches
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.metrics.ratings import RatingMetrics
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.console import run_log
from lightning_collab.training.run import InterruptedRunError, train
from lightning_collab.training.trainer import build_bare_trainer


def measured(sizes: Sequence[tuple[int, int]], rank: int, ranks: int) -> list[dict[str, float]]:
    """The metrics of made-up predictions for each number of rows and of rows in a batch."""
    results = []
    for rows, batch_size in sizes:
        random = np.random.default_rng(rows)
        users = torch.tensor(random.integers(0, 5, rows), dtype=torch.int32)
        ratings = torch.tensor(random.uniform(1, 5, rows), dtype=torch.float32)
        batches = RatingBatches(
            users,
            users + 1,
            ratings,
            batch_size=batch_size,
            shuffle=False,
            seed=0,
            rank=rank,
            world_size=ranks,
        )
        metrics = RatingMetrics("val/")
        for batch in batches:
            metrics.update(_made_up(batch), batch)
        results.append({name: value.item() for name, value in metrics.compute().items()})
    return results


def measured_on_ranks(sizes: Sequence[tuple[int, int]]) -> list[dict[str, float]]:
    """`measured` on each rank's share."""
    rank, ranks = int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    try:
        return measured(sizes, rank, ranks)
    finally:
        distributed.destroy_process_group()


def _made_up(batch: RatingBatch) -> torch.Tensor:
    return 3 + (batch.users - 2) * 0.3 + (batch.ratings - 3) * 0.5


class Losses(pl.callbacks.Checkpoint):
    """The training loss of each epoch; Lightning asks a Checkpoint when all has been logged."""

    def __init__(self) -> None:
        self.of_epochs: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.of_epochs.append(trainer.callback_metrics["train/loss"].item())


def trained(
    config: RunConfig, table: RatingTable, directory: Path, resume: bool = False
) -> dict[str, Any]:
    """Losses, metrics, and the weights and the optimizer's state that a run ends with.

    Arrays, since torch would share its tensors with a process that is soon gone.
    """
    losses = Losses()
    run = RunDirectory(directory)
    directory.mkdir(parents=True, exist_ok=True)
    data = load_data(config, table)
    with run_log(None, silent=True):
        metrics = train(config, run, callbacks=[losses], data=data, resume=resume)
    content = read_checkpoint(run.last_checkpoint)
    return {
        "losses": losses.of_epochs,
        "metrics": metrics,
        "weights": {name: value.numpy() for name, value in content["state_dict"].items()},
        "optimizer": [
            {key: np.asarray(value) for key, value in state.items()}
            for _, state in sorted(content["optimizer_states"][0]["state"].items())
        ],
    }


class CountsBytes(pl.Callback):
    """What this rank sends in a step, by what rings send for the collectives that it makes."""

    def __init__(self) -> None:
        self.sent: list[float] = []
        self.resident = 0
        self._now: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        ranks = trainer.world_size
        if isinstance(trainer.strategy, DDPStrategy):
            trainer.strategy.model.register_comm_hook(ranks, self._bucket)
            return
        for name, times in (
            ("all_gather_into_tensor", lambda output, own: (ranks - 1) * own.nbytes),
            ("reduce_scatter_tensor", lambda mine, whole: (ranks - 1) / ranks * whole.nbytes),
            ("all_reduce", lambda whole: 2 * (ranks - 1) / ranks * whole.nbytes),
        ):
            setattr(distributed, name, self._counted(getattr(distributed, name), times))

    def _counted(self, collective, times):
        def call(*tensors, **options):
            if self._now is not None:
                self._now += times(*tensors)
            return collective(*tensors, **options)

        return call

    def _bucket(self, ranks, bucket):
        self._now += 2 * (ranks - 1) / ranks * bucket.buffer().nbytes
        return allreduce_hook(None, bucket)

    def on_train_batch_start(self, *_: Any) -> None:
        self._now = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.sent.append(self._now)
        self._now = None
        everything = [*pl_module.parameters(), *(each.grad for each in pl_module.parameters())]
        for state in trainer.optimizers[0].state.values():
            everything += [value for value in state.values() if value.ndim]
        self.resident = sum(
            (each.to_local() if isinstance(each, DTensor) else each).nbytes for each in everything
        )


def counted(config: RunConfig, users: int, items: int) -> tuple[list[float], int]:
    """Bytes that this rank sends in each of three steps, and holds at the end."""
    counts = CountsBytes()
    with run_log(None, silent=True):
        trainer = build_bare_trainer(config, [counts], 3)
        request = {"users": users, "items": items, "steps": 3}
        module = random_module(config, users, items)
        trainer.fit(module, train_dataloaders=random_batches(config, request, trainer))
    return counts.sent, counts.resident


def several_trained(
    configs: Sequence[tuple[RunConfig, Path]], table: RatingTable
) -> list[dict[str, Any]]:
    """`trained` for one config after the other, in one process group."""
    return [trained(config, table, directory) for config, directory in configs]


class Seen(pl.callbacks.Checkpoint):
    """The weights of this rank at the start, and whenever a validation or an epoch ends."""

    def __init__(self) -> None:
        self.weights: list[dict[str, np.ndarray]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.weights.append(_copied(pl_module))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            self.weights.append(_copied(pl_module))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.weights.append(_copied(pl_module))


def _copied(module: Any) -> dict[str, np.ndarray]:
    return {name: each.detach().numpy().copy() for name, each in module.model.named_parameters()}


class Interrupts(pl.Callback):
    """Sends rank zero a signal before a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.steps_done == self.step and trainer.is_global_zero:
            signal.raise_signal(signal.SIGINT)


def seen(
    cases: Sequence[tuple[RunConfig, Path, bool, int | None]], table: RatingTable
) -> list[list[dict[str, np.ndarray]]]:
    """What each run's weights were on this rank; a run may be resumed, or interrupted at a step."""
    results = []
    for config, directory, resume, stop in cases:
        run, watching = RunDirectory(directory), Seen()
        directory.mkdir(parents=True, exist_ok=True)
        callbacks = [watching] if stop is None else [watching, Interrupts(stop)]
        data = load_data(config, table)
        try:
            with run_log(None, silent=True):
                train(config, run, callbacks=callbacks, data=data, resume=resume)
        except (InterruptedRunError, SystemExit):  # the latter on other ranks
            assert stop is not None
        results.append(watching.weights)
    return results

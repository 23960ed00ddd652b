"""`hydra.sweeper.batched=true`: trials that differ in numbers alone, trained side by side.

Trials of one batch that see the same ratings in the same order share each block of steps: it is
drawn and gathered once, and every trial takes its steps on it in a kernel call of its own, on
whichever thread is free. So each is to the bit the trial that it would be alone; what is saved is
what surrounds the steps: a Trainer and its hooks, and checkpoints after each epoch.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_collab.config import RunConfig
from lightning_collab.config.optimizer import WarmRestartsConfig
from lightning_collab.config.section import flat
from lightning_collab.data.batches import RatingBatch
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module
from lightning_collab.training.cold_rows import (
    fitted_cold_rows,
    has_cold_rows,
    knowing,
    met_in_validation,
)
from lightning_collab.training.console import run_log
from lightning_collab.training.engine import EngineChoice
from lightning_collab.training.modules.base_module import NO_NUMBER
from lightning_collab.training.modules.rating_module import RatingModule
from lightning_collab.training.run import baselines_of_run, introduction, metrics_of_run
from lightning_collab.training.schedules import build_schedule
from lightning_collab.training.trainer import SafeCheckpointIO
from lightning_collab.tuning.trial_run import Outcome, PreparedData, PruneTrial, outcome_of

log = logging.getLogger(__name__)

# What may differ in trials that take their steps on the same ratings, in blocks that end alike.
SAME_STEPS = (
    *("optimizer.", "scheduler."),
    *("model.init_range", "model.range_margin", "trainer.gradient_clip_val"),
)


class BatchedTrial:
    """One trial of a batch.

    Args:
        config: from `trial_config`.
        directory: of the trial; it is made.
        callback: reports and prunes; it gets the metrics of each epoch.
    """

    def __init__(self, config: RunConfig, directory: Path, callback: PruneTrial) -> None:
        self.config, self.callback = config, callback
        self.run = RunDirectory(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.seconds = 0.0
        self._fit_seconds = 0.0
        self._steps = 0
        self._metrics: dict[str, float] = {}
        self._best: tuple[float, dict[str, Any]] | None = None
        self._waited, self._to_beat = 0, np.float32(np.inf)

    def begin(self, of_process: PreparedData, beside: int) -> None:
        """Make the model, as alone.

        Args:
            of_process: where it keeps its ratings.
            beside: how many others there are.
        """
        started = time.perf_counter()
        config = self.config
        self.data = data = of_process.of(config)
        module = build_module(config, data)
        assert isinstance(module, RatingModule)
        self.module = module
        module.choice = EngineChoice("fused", f"side by side with {beside} other trials", True)
        self.optimizer = module.configure_optimizers()
        steps = data.batches_per_epoch
        self.schedule = build_schedule(
            config.scheduler,
            lr=config.optimizer.lr,
            steps_per_epoch=steps,
            total_steps=steps * config.trainer.max_epochs,
        )
        module.eval()
        self.run.write_config(config)
        with run_log(self.run.log_file, silent=True):
            log.info("%s", introduction(config, data, module))
            log.info("%s", module.choice)
        self.seconds += time.perf_counter() - started

    def block_ends(self) -> list[int]:
        """The batches before which a block of steps ends, as alone."""
        from lightning_collab.training.fused.blocks import block_ends

        batches = self.data.batches_per_epoch
        scheduler, cycles = self.config.scheduler, [0.0]
        if isinstance(scheduler, WarmRestartsConfig):
            cycles = scheduler.cycle_ends(self.config.trainer.max_epochs)
        return block_ends(
            self.module.model,
            batches=batches,
            batch_size=self.data.rows_per_batch,
            threads=1,
            cuts=(round(end * batches) % batches for end in cycles),
        )

    @property
    def steps_key(self) -> str:
        """The same for trials that take their steps on the same blocks of ratings."""
        kept = {
            key: value
            for key, value in flat(self.config.model_dump(mode="json"))
            if not key.startswith(SAME_STEPS)
        }
        return json.dumps([kept, self.block_ends()])

    def tasks(
        self, blocks: Iterator[tuple[RatingBatch, bool]], shared: "Shared"
    ) -> Iterator[Callable[[], None]]:
        """What is to be done one after the other, on any thread; between two of them it reports.

        Raises:
            optuna.TrialPruned: the pruner says so.
        """
        epochs = 0
        for batch, ends in blocks:
            yield partial(self._take, batch, shared if ends else None)
            if ends:
                epochs += 1
                self.callback.after_epoch(epochs, self._metrics)
                if self._stops_early():
                    break
        yield partial(self._finish, shared)

    @torch.no_grad()
    def _take(self, batch: RatingBatch, ending: "Shared | None") -> None:
        """The steps of a block; and where it ends an epoch, its metrics."""
        from lightning_collab.training.fused.blocks import take_block

        started = time.perf_counter()
        module = self.module
        losses = take_block(
            self.optimizer, batch, self.data.rows_per_batch, self.schedule, self._steps
        )
        module.count_loss(
            torch.tensor(losses.squared_errors.sum(), dtype=torch.float64), len(batch.ratings)
        )
        self._steps += losses.taken
        stopped = losses.taken < len(losses.squared_errors)
        why = NO_NUMBER if stopped else module.divergence()
        if why is None and ending is not None:
            module.on_train_epoch_start()
            self._metrics = self._measured(ending.validation)
            why = module.broken_weights()
            self._keep_best()
        here = time.perf_counter() - started
        self.seconds, self._fit_seconds = self.seconds + here, self._fit_seconds + here
        if why is not None:
            raise module.diverged(why, self._steps, self.callback.epochs)

    def _measured(self, batches: Iterable[Any]) -> dict[str, float]:
        self.module.on_validation_start()
        for number, batch in enumerate(batches):
            self.module.validation_step(batch, number)
        return {name: float(value) for name, value in self.module.validated().items()}

    @property
    def _monitored(self) -> float:
        """The metric that picks the best epoch; less is better."""
        assert self.config.monitor is not None  # tuning needs a validation part
        value = self._metrics[self.config.monitor]
        return value if self.config.monitor_mode == "min" else -value

    def _keep_best(self) -> None:
        value = self._monitored
        if self._best is None or value < self._best[0]:
            state = {name: each.clone() for name, each in self.module.state_dict().items()}
            at = {"epoch": self.callback.epochs, "steps_done": self._steps}
            self._best = value, {"state_dict": state, "global_step": self._steps, **at}

    def _stops_early(self) -> bool:
        """Lightning's early stopping, which compares in float32."""
        stopping = self.config.callbacks.early_stopping
        if stopping is None:
            return False
        value = np.float32(self._monitored)
        better = value + np.float32(stopping.min_delta) < self._to_beat
        self._waited = 0 if better else self._waited + 1
        self._to_beat = value if better else self._to_beat
        return self._waited >= stopping.patience

    @torch.no_grad()
    def _finish(self, shared: "Shared") -> None:
        """Measure the best epoch, ids without training ratings by their features."""
        started = time.perf_counter()
        module, data = self.module, copy(self.data)  # whose numbering of ids is changed meanwhile
        assert self._best is not None
        module.load_state_dict(self._best[1]["state_dict"])
        cold = {}
        if has_cold_rows(module.model):
            cold = fitted_cold_rows(module.model, data, sides=met_in_validation(data))
        with knowing(module, data, cold):
            measured = self._measured(data.val_dataloader())
        self.callback.metrics = metrics_of_run(
            self.config,
            data,
            module,
            {**measured, **shared.baselines},
            epochs=self.callback.epochs,
            here=(self.callback.epochs, self._fit_seconds),
        )
        self.run.write_metrics(self.callback.metrics)
        self.seconds += time.perf_counter() - started

    def end(self, outcome: Outcome) -> None:
        """Keep the best weights."""
        outcome.epochs, outcome.seconds = self.callback.epochs, round(self.seconds, 3)
        if self._best is not None and outcome.state != "interrupted":
            content = {**self._best[1], **self.module.about_model(self.data)}
            SafeCheckpointIO().save_checkpoint(content, self.run.best_checkpoint)


class Shared:
    """What trials with the same blocks of steps have in common.

    Args:
        trial: one of them.
    """

    def __init__(self, trial: BatchedTrial) -> None:
        self._data, self._ends = trial.data, trial.block_ends()
        self._epochs = trial.config.trainer.max_epochs
        self.validation: list[Any] = list(trial.data.val_dataloader())
        self.baselines = baselines_of_run(trial.config, trial.data, test=False)

    def blocks(self) -> Iterator[tuple[RatingBatch, bool]]:
        """The blocks of all epochs in the order of their steps, and whether each ends an epoch."""
        self._data.block_ends = self._ends
        loader = self._data.train_dataloader()
        self._data.block_ends = None
        for epoch in range(self._epochs):
            loader.set_epoch(epoch)
            for number, batch in enumerate(loader, 1):
                yield batch, number == len(self._ends)


def run_batch(
    trials: Sequence[BatchedTrial],
    data: PreparedData,
    threads: int,
    ended: Callable[[BatchedTrial, Outcome], None],
) -> None:
    """Train trials side by side; one that is pruned, fails or stops leaves the others alone.

    They report in turn after each epoch, so that what the pruner sees does not depend on threads.

    Args:
        trials: new ones.
        data: where the process keeps its ratings.
        threads: that train them.
        ended: called as each ends.
    """
    pool = ThreadPoolExecutor(threads, initializer=_one_thread, initargs=(trials[0].config,))
    running: dict[BatchedTrial, tuple[Iterator[Callable[[], None]], Future[None]]] = {}

    def go_on(trial: BatchedTrial, tasks: Iterator[Callable[[], None]] | None) -> None:
        """Submit what comes next of a trial, or say how it has ended."""
        outcome = Outcome("complete")
        try:
            if trial in running:
                running.pop(trial)[1].result()
            task = next(tasks, None) if tasks is not None else None
            if tasks is not None and task is not None:
                running[trial] = tasks, pool.submit(task)
                return
            outcome.metrics = trial.callback.metrics
        except Exception as error:
            with run_log(trial.run.log_file, silent=True):
                outcome = outcome_of(error, trial.callback.metrics)
        trial.end(outcome)
        ended(trial, outcome)

    try:
        for trial, tasks in _begun(trials, data, ended):
            go_on(trial, tasks)
        while running:
            for trial, (tasks, _) in list(running.items()):
                go_on(trial, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def _begun(
    trials: Sequence[BatchedTrial],
    data: PreparedData,
    ended: Callable[[BatchedTrial, Outcome], None],
) -> list[tuple[BatchedTrial, Iterator[Callable[[], None]]]]:
    """The trials whose model can be made, with what is to be done for each."""
    groups: dict[str, list[BatchedTrial]] = {}
    for trial in trials:
        try:
            trial.begin(data, len(trials) - 1)
            groups.setdefault(trial.steps_key, []).append(trial)
        except Exception as error:
            with run_log(trial.run.log_file, silent=True):
                outcome = outcome_of(error, {})
            trial.end(outcome)
            ended(trial, outcome)
    begun = []
    for members in groups.values():
        shared = Shared(members[0])
        # A block is kept until the last of them has taken it.
        streams = tee(shared.blocks(), len(members))
        begun += [
            (each, each.tasks(blocks, shared))
            for each, blocks in zip(members, streams, strict=True)
        ]
    return begun


def _one_thread(config: RunConfig) -> None:
    """What each thread of the pool begins with: torch counts its own threads for each."""
    torch.set_num_threads(config.trainer.threads or 1)

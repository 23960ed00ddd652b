"""The bridge from Lightning's epochs to Optuna's pruners."""

import os
from collections.abc import Callable
from typing import Any

import optuna
import pytorch_lightning as pl

from lightning_collab.errors import ConfigError, TrainingError

Report = Callable[[int, float], bool]
"""Takes the number of epochs done and the objective after the last; returns whether to prune."""


class OrphanedTrialError(TrainingError):
    """The process that asked for this trial has gone."""


class PruneTrial(pl.Callback):
    """Reports the objective after every epoch and stops the trial where the pruner says so.

    Rank zero asks; all ranks stop in the same epoch. The last epoch is reported too, but a trial
    that has come so far is complete.

    Args:
        report: see `Report`; None on ranks other than zero.
        objective: a metric of the validation part; None: nothing is reported.
        max_epochs: of the trial.
        parent: the process for which the trial runs, where that is another; without it the trial
            stops, since nobody would tell the study how it ended.
    """

    def __init__(
        self,
        report: Report | None,
        objective: str | None,
        max_epochs: int,
        parent: int | None = None,
    ) -> None:
        self._report = report
        self._objective = objective
        self._max_epochs = max_epochs
        self._parent = parent
        self.epochs = 0
        self.metrics: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, and raise `optuna.TrialPruned` on all ranks or none."""
        if self._parent is not None and os.getppid() != self._parent:
            raise OrphanedTrialError("the sweep has gone, so the trial stops")
        self.epochs = trainer.current_epoch + 1
        known: dict[str, Any] = trainer.callback_metrics
        self.metrics = {key: float(value) for key, value in known.items()}
        if self._objective is None:
            return
        prune = False
        if trainer.is_global_zero and self._report is not None:
            if self._objective not in self.metrics:
                raise ConfigError(
                    f"hydra.sweeper.objective: {self._objective} is not measured after an epoch; "
                    f"known here: {', '.join(sorted(self.metrics))}"
                )
            prune = self._report(self.epochs, self.metrics[self._objective])
        prune = trainer.strategy.broadcast(prune and self.epochs < self._max_epochs)
        if prune:
            raise optuna.TrialPruned(f"pruned after {self.epochs} epochs")


def report_to(trial: optuna.Trial) -> Report:
    """Reports go into a trial, and its study's pruner decides."""

    def report(epochs: int, value: float) -> bool:
        trial.report(value, epochs)
        return trial.should_prune()

    return report

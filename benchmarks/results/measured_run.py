"""One run behind a number, kept so that it is not run twice."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from lightning_collab.config.compose import composed_run
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import write_atomically
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train

log = logging.getLogger(__name__)

QUIET = ("callbacks.progress_bar=false", "callbacks.projector=null", "logger=none")
HISTORY = "history.json"

Epoch = dict[str, float]


class History(pl.Callback):
    """The metrics and the seconds of every epoch, validation left out of the seconds."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self._seconds = 0.0
        self._since = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the epoch before, whose metrics are complete only now."""
        self._note(trainer)
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Training of this epoch is over."""
        if trainer.training or trainer.validating:
            self._seconds += time.perf_counter() - self._since

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the last epoch."""
        self._note(trainer)

    def _note(self, trainer: pl.Trainer) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if metrics:
            self.epochs.append({**metrics, "seconds": self._seconds})


def measured_run(
    folder: Path, *overrides: str, data: dict[str, RatingDataModule] | None = None
) -> tuple[dict[str, Any], list[Epoch]]:
    """Metrics and epochs of a run; it is run only where its folder does not have them yet.

    Args:
        folder: of the run.
        overrides: as typed on the command line of scripts/train.py.
        data: ratings that are loaded already, by their config; taken from and added to.

    Returns:
        The content of metrics.json, and for each epoch its metrics and the training seconds so
        far.
    """
    run = RunDirectory(folder)
    history_file = folder / HISTORY
    config = composed_run(*overrides, *QUIET)
    if history_file.is_file() and run.read_config() == config:
        return run.read_metrics(), json.loads(history_file.read_text())
    log.info("running %s", " ".join(overrides))
    folder.mkdir(parents=True, exist_ok=True)
    key = f"{config.data} {config.split} {config.features} {config.batch_size} {config.seed}"
    loaded = (data or {}).get(key) or load_data(config)
    if data is not None:
        data[key] = loaded
    history = History()
    metrics = train(config, run, callbacks=[history], data=loaded)
    write_atomically(history_file, json.dumps(history.epochs, indent=1))
    return metrics, history.epochs


def mean_and_deviation(values: list[float]) -> str:
    """As the tables have it: `0.9185 ± 0.0006`; of a single value the deviation is 0.

    Args:
        values: one a seed.
    """
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.4f} ± {deviation:.4f}"

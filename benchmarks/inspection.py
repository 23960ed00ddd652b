"""What looking inside costs: a default run with and without it, the report and the map."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightning_collab.api.trained_run import load
from lightning_collab.config.compose import composed_run
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.inspection.embedding_map import embedding_map, map_picture
from lightning_collab.inspection.run_report import write_run_report
from lightning_collab.inspection.while_training import LogEmbeddings
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.run import train


class Timed(LogEmbeddings):
    """The callback with a clock, since a run's own seconds vary more than it costs."""

    seconds = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """As the callback."""
        began = time.perf_counter()
        super().on_fit_start(trainer, pl_module)
        self.seconds += time.perf_counter() - began

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """As the callback."""
        began = time.perf_counter()
        super().on_train_epoch_end(trainer, pl_module)
        self.seconds += time.perf_counter() - began

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """As the callback."""
        began = time.perf_counter()
        super().on_train_end(trainer, pl_module)
        self.seconds += time.perf_counter() - began


def run(repeats: int) -> dict[str, float]:
    """Measure the default run on MovieLens 100K.

    Args:
        repeats: paired runs, of which medians are taken.

    Returns:
        `projector/share_of_fit` (seconds in the callback over the other seconds of the fit),
        `projector/fit_with_over_without` (whole fits, in turn), `report/seconds` (with a t-SNE),
        `map/seconds` (t-SNE and picture of all films).
    """
    config = composed_run("data=ml_100k", "callbacks.progress_bar=false")
    data = load_data(config)
    shares, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats):
            callback = Timed(config)
            directory = RunDirectory(Path(folder) / str(number))
            with_it = _fit_seconds(config, directory, data, [callback])
            without = _fit_seconds(config, RunDirectory(Path(folder) / f"{number}-bare"), data, [])
            shares.append(callback.seconds / (with_it - callback.seconds))
            ratios.append(with_it / without)
        trained = load(directory.path)
        began = time.perf_counter()
        write_run_report(trained, data)
        reported = time.perf_counter()
        map_picture(embedding_map(trained, "items", "tsne"))
        drawn = time.perf_counter()
    return {
        "projector/share_of_fit": statistics.median(shares),
        "projector/fit_with_over_without": statistics.median(ratios),
        "report/seconds": reported - began,
        "map/seconds": drawn - reported,
    }


def _fit_seconds(
    config: Any, directory: RunDirectory, data: RatingDataModule, callbacks: list[pl.Callback]
) -> float:
    directory.path.mkdir()
    metrics = train(config, directory, data=data, callbacks=callbacks)
    return float(metrics["fit_seconds"])

"""Keeping what is known of a run's users and items, as the run begins."""

import io
from typing import Any

import pytorch_lightning as lightning

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.inference.catalogue import catalogue
from lightning_collab.training.run_directory import RunDirectory
from lightning_collab.training.whole_file import write_whole


class SaveCatalogue(lightning.Callback):
    """Writes users.parquet and items.parquet before the first step, on rank zero.

    Args:
        run: the run directory.

    Attributes:
        data: the ratings of the run, once it has begun, for whoever looks at the run afterwards.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.data: RatingDataModule | None = None

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write both files, each whole or not at all."""
        data: RatingDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self.data = data
        if not trainer.is_global_zero:
            return
        for side, path in (("users", self.run.users_file), ("items", self.run.items_file)):
            buffer = io.BytesIO()
            catalogue(data, side).write_parquet(buffer)  # type: ignore[arg-type]
            write_whole(path, buffer.getvalue())

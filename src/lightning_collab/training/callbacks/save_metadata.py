"""Keeping what is known of a run's users and items, and who rated what, as the run begins."""

from typing import Any

import pytorch_lightning as lightning

from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.history import history_table
from lightning_collab.data.metadata import catalogue
from lightning_collab.runs.atomic_write import whole_file
from lightning_collab.runs.directory import RunDirectory


class SaveCatalogue(lightning.Callback):
    """Writes users, items and history.parquet before the first step, on rank zero.

    Args:
        run: the run directory.

    Attributes:
        data: the ratings of the run, once it has begun, for whoever looks at the run afterwards.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.data: RatingDataModule | None = None

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Write the files, each whole or not at all."""
        data: RatingDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self.data = data
        if not trainer.is_global_zero:
            return
        for table, path in (
            (catalogue(data, "users"), self.run.users_file),
            (catalogue(data, "items"), self.run.items_file),
            (history_table(data), self.run.history_file),
        ):
            with whole_file(path) as file:
                table.write_parquet(file)

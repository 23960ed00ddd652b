"""One experiment on each of several folds, and what the folds say together."""

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from lightning_collab.config import RunConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.errors import CheckpointError, ConfigError
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.cold_rows import with_cold_rows
from lightning_collab.training.evaluation import clamped_predictions
from lightning_collab.training.run import train

log = logging.getLogger(__name__)

USER_ERRORS = "user_errors.parquet"


@dataclass(frozen=True)
class FoldRun:
    """One training of a cross-validation.

    Attributes:
        experiment: its name.
        repeat: counted from 1.
        fold: which.
        config: of the run: its fold, and the seeds of its repeat.
        run: where it goes.
    """

    experiment: str
    repeat: int
    fold: int | str
    config: RunConfig
    run: RunDirectory

    @property
    def done(self) -> bool:
        """Whether the same training has been finished there."""
        of_users = self.config.ranks or (self.run.path / USER_ERRORS).is_file()
        if not of_users or not self.run.metrics_file.is_file():
            return False
        try:
            return self.run.read_config() == self.config.as_kept()
        except (CheckpointError, ConfigError):
            return False


def plan(
    experiments: dict[str, RunConfig], folds: list[int | str], repeats: int, directory: Path
) -> list[FoldRun]:
    """All trainings, fold by fold, each fold with every experiment.

    A repeat shifts the seed of the split (of the val part where the test part is official) and the
    seed of the training by its number; all experiments have the same folds and seeds.

    Args:
        experiments: config of each, by name.
        folds: which.
        repeats: times that they are gone through.
        directory: where everything goes.
    """
    return [
        FoldRun(
            experiment=name,
            repeat=repeat,
            fold=fold,
            config=_of_fold(config, fold, repeat - 1),
            run=RunDirectory(directory / folder_name(name) / f"repeat-{repeat}" / f"fold-{fold}"),
        )
        for repeat in range(1, repeats + 1)
        for fold in folds
        for name, config in experiments.items()
    ]


def folder_name(experiment: str) -> str:
    """A folder's name for an experiment that may be named by its overrides."""
    plain = re.sub(r"[^\w.-]+", "_", experiment, flags=re.ASCII)
    if plain == experiment and len(plain) <= 60:
        return plain
    return f"{plain[:50]}-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"


def _of_fold(config: RunConfig, fold: int | str, shift: int) -> RunConfig:
    split = config.split.model_copy(update={"fold": fold, "seed": config.split.seed + shift})
    return config.model_copy(update={"split": split, "seed": config.seed + shift})


def run_fold(fold: FoldRun, table: RatingTable) -> None:
    """Train and test on one fold; leaves a run directory and, of ratings, each user's errors.

    Args:
        fold: which.
        table: the ratings that its config asks for.
    """
    config = fold.config
    data = load_data(config, table)
    fold.run.path.mkdir(parents=True, exist_ok=True)
    train(config, fold.run, data=data)
    if config.ranks:
        return
    # The learning rate may have been found only then.
    trained = fold.run.read_config()
    checkpoint = fold.run.best_checkpoint if trained.monitor else fold.run.last_checkpoint
    module = build_module(trained, data)
    module.load_trained(read_checkpoint(checkpoint), checkpoint)
    with with_cold_rows(module, data):
        predicted = clamped_predictions(module, data, data.rows.test)
    errors = (predicted - data.columns(data.rows.test).ratings).astype(np.float64)
    users = table.users[data.rows.test]
    rows = np.flatnonzero(np.bincount(users))
    frame = pl.DataFrame(
        {
            "user": table.user_vocabulary.decode(rows),
            "ratings": np.bincount(users)[rows],
            "squared_error": np.bincount(users, np.square(errors))[rows],
        }
    )
    temporary = fold.run.path / f".{USER_ERRORS}"
    frame.write_parquet(temporary)
    temporary.replace(fold.run.path / USER_ERRORS)

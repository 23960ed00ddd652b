"""What a run shows of itself: how its embeddings form, and all else when it has ended."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytorch_lightning as lightning
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from lightning_collab.config import RunConfig
from lightning_collab.config.optimizer import Scheduler, WarmRestartsConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.metadata import metadata_table
from lightning_collab.data.vocabulary import Side
from lightning_collab.errors import LightningCollabError
from lightning_collab.inspection import embeddings, figures
from lightning_collab.inspection.embeddings import (
    MAX_ROWS,
    SideEmbeddings,
    bookmarks,
    side_embeddings,
    write_embedding,
)
from lightning_collab.inspection.neighbors import GenreOverlap
from lightning_collab.inspection.predictions import Predictions, predict_part
from lightning_collab.inspection.run_report import write_run_report
from lightning_collab.models import RatingModel
from lightning_collab.runs.checkpoints import read_checkpoint, steps_of_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.loggers import FINAL
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)


class LogEmbeddings(lightning.Callback):
    """Embeddings to the projector, histograms and genre overlap, at chosen epochs.

    Each epoch has tags of its own (`items/epoch_007`), so that one can watch the map form; a
    resumed run adds to them. Only rank zero writes. The genre overlap goes to every logger, all
    else to TensorBoard's, where there is one.

    Args:
        config: of the run; its `callbacks.projector` must not be null.
    """

    def __init__(self, config: RunConfig) -> None:
        assert config.callbacks.projector is not None
        self._settings = config.callbacks.projector
        self._scheduler = config.scheduler
        self._sides: tuple[Side, ...] = ("items", "users") if self._settings.users else ("items",)
        self._logged: int | None = None
        self._known: dict[Side, pl.DataFrame] = {}
        self._overlap: GenreOverlap | None = None

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Learn the names of the rows, once."""
        if not self._loggers(trainer):
            return
        for side in self._sides:
            table: Any = getattr(trainer, "datamodule")  # noqa: B009 (not in Lightning's types)
            known = metadata_table(table, side)
            vocabulary = table.item_vocabulary if side == "items" else table.user_vocabulary
            self._known[side] = known.head(len(vocabulary) - 1)
            points = len(self._known[side])
            if points > MAX_ROWS and self._board(trainer) is not None:
                shown = "the projector shows the %d most rated of %d %s"
                log.warning(shown, MAX_ROWS, points, side)
        self._overlap = GenreOverlap(self._known["items"])

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Log, where this epoch is one of the chosen."""
        done = trainer.current_epoch + 1
        every = self._settings.every_n_epochs
        due = ends_cycle(self._scheduler, done) if every is None else done % every == 0
        if due:
            self._log(trainer, pl_module, done)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Log the last epoch, where it has not been logged."""
        if trainer.current_epoch and self._logged != trainer.current_epoch:
            self._log(trainer, pl_module, trainer.current_epoch)

    def _log(self, trainer: lightning.Trainer, module: Any, epoch: int) -> None:
        self._logged = epoch
        loggers, board = self._loggers(trainer), self._board(trainer)
        if not loggers:
            return
        model: RatingModel = module.model
        step: int = module.steps_done
        tables = model.lookup_tables().get("embeddings", {})
        for side in self._sides:
            if side not in tables:
                continue
            learned = embeddings.side_embeddings(model, side)
            if board is not None:
                tag = f"{side}/epoch_{epoch:03}"
                write_snapshot(Path(board.log_dir), tag, side, self._known[side], learned)
                self._histograms(board, side, learned, step)
            if side == "items" and self._overlap is not None and self._overlap.possible:
                overlap = self._overlap.of(learned.vectors)
                for logger in loggers:
                    logger.log_metrics(overlap.metrics, step)

    @staticmethod
    def _histograms(
        logger: TensorBoardLogger, side: Side, learned: SideEmbeddings, step: int
    ) -> None:
        values = {
            f"weights/{side}": learned.vectors.flatten(),
            f"weights/{side}_norm": learned.vectors.norm(dim=1),
        }
        if learned.biases is not None:
            values[f"weights/{side}_bias"] = learned.biases
        for name, each in values.items():
            logger.experiment.add_histogram(name, each, step)

    @staticmethod
    def _loggers(trainer: lightning.Trainer) -> list[Logger]:
        return trainer.loggers if trainer.is_global_zero else []

    def _board(self, trainer: lightning.Trainer) -> TensorBoardLogger | None:
        loggers = self._loggers(trainer)
        return next((each for each in loggers if isinstance(each, TensorBoardLogger)), None)


def write_snapshot(
    logdir: Path, tag: str, side: Side, known: pl.DataFrame, learned: SideEmbeddings
) -> None:
    """Put the embeddings of one side on the projector page of a run: the most rated it can hold.

    Args:
        logdir: where the run's event files are.
        tag: name in the page's list.
        side: `users` or `items`.
        known: a row for each embedding.
        learned: the embeddings.
    """
    rows = embeddings.most_rated(known)
    metadata = embeddings.described(known, side)
    if learned.biases is not None:
        metadata = metadata.with_columns(bias=pl.Series(learned.biases.numpy()))
    write_embedding(
        logdir,
        tag,
        learned.vectors.numpy()[rows],
        metadata[rows],
        bookmarks(metadata.columns, len(rows), learned.vectors.shape[1]),
    )


def ends_cycle(scheduler: Scheduler, epochs: int) -> bool:
    """Whether a cycle of the schedule ends within the last of these epochs.

    Args:
        scheduler: the `scheduler` section; one without cycles ends none.
        epochs: done so far.
    """
    if not isinstance(scheduler, WarmRestartsConfig):
        return False
    return any(epochs - 1 < end - 1e-9 <= epochs for end in scheduler.cycle_ends(epochs))


def inspect_run(
    config: RunConfig, run: RunDirectory, data: RatingDataModule, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure and show the checkpoint that a run keeps, as its config asks.

    A run whose training went well is not lost because something about it cannot be shown: that is
    a warning.

    Args:
        config: of the run.
        run: the run directory; metrics.json is written again, with the genre overlap.
        data: the ratings of the run.
        metrics: the content of metrics.json.

    Returns:
        The metrics, with `embeddings/genre_overlap` (mean Jaccard with the 10 nearest) and
        `embeddings/genre_overlap_chance` where the items have genres and embeddings.
    """
    wanted = config.callbacks
    if wanted.projector is None and wanted.report is None:
        return dict(metrics)
    try:
        trained = TrainedModel.load(run.path)
        metrics = {**metrics, **overlap_metrics(trained)}
        run.write_metrics(dict(metrics))
        if config.logger.tensorboard is not None:
            _to_tensorboard(config, trained, predict_part(trained, data), metrics)
        if wanted.report is not None:
            write_run_report(trained, data, wanted.report.map)
    except (LightningCollabError, OSError) as error:
        log.warning("the run is complete, but not all of it could be shown: %s", error)
    return dict(metrics)


def overlap_metrics(trained: TrainedModel) -> dict[str, float]:
    """The genre overlap by the names of metrics.json; empty where there is none to measure.

    Args:
        trained: the run.
    """
    overlap = GenreOverlap(trained.items)
    if not overlap.possible or not _has_embeddings(trained, "items"):
        return {}
    return overlap.of(side_embeddings(trained.model, "items").vectors).metrics


def _to_tensorboard(
    config: RunConfig,
    trained: TrainedModel,
    predictions: Predictions | None,
    metrics: Mapping[str, Any],
) -> None:
    """Further test numbers, figures, and the embeddings of the checkpoint."""
    logdir = trained.directory.tensorboard
    step = steps_of_checkpoint(read_checkpoint(trained.checkpoint))
    with SummaryWriter(str(logdir)) as writer:
        for name, value in metrics.items():
            # The training has logged the others.
            if name.startswith("test/") and "@" in name and name not in FINAL:
                writer.add_scalar(name, value, step)
        if predictions is not None:
            one = {config.model.name: predictions}
            drawn = {
                "calibration": figures.calibration_figure(one),
                "rmse_by_ratings_of_user": figures.by_count_figure(one, "user"),
                "rmse_by_ratings_of_item": figures.by_count_figure(one, "item"),
                "residuals_by_rating": figures.residuals_figure(predictions),
            }
            for name, figure in drawn.items():
                writer.add_figure(f"{predictions.part}/{name}", figure, step)
    if config.callbacks.projector is None:
        return
    sides: tuple[Side, ...] = ("items", "users") if config.callbacks.projector.users else ("items",)
    for side in sides:
        if _has_embeddings(trained, side):
            known = trained.items if side == "items" else trained.users
            # Sorts before the epochs, so it is what the page opens with.
            tag = f"{side}/checkpoint_{trained.checkpoint.stem}"
            write_snapshot(logdir, tag, side, known, side_embeddings(trained.model, side))


def _has_embeddings(trained: TrainedModel, side: Side) -> bool:
    return side in trained.model.lookup_tables().get("embeddings", {})

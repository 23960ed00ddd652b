"""What a run shows of itself when it has ended."""

import logging
from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from lightning_collab.config import RunConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.vocabulary import Side
from lightning_collab.errors import LightningCollabError
from lightning_collab.inspection import figures
from lightning_collab.inspection.embeddings import side_embeddings
from lightning_collab.inspection.log_embeddings import write_snapshot
from lightning_collab.inspection.neighbors import GenreOverlap
from lightning_collab.inspection.predictions import Predictions, predict_part
from lightning_collab.inspection.run_report import write_run_report
from lightning_collab.runs.checkpoints import read_checkpoint, steps_of_checkpoint
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.loggers import FINAL
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)


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

"""What a trained run does with its ratings once more: measure, show, go on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import Callback

from lightning_collab.api.run_data import data_of_run
from lightning_collab.api.training import train_run
from lightning_collab.config import RunConfig, validated
from lightning_collab.config.commands import MapChoice, RankingConfig
from lightning_collab.config.loss import Positives
from lightning_collab.config.overrides import with_values
from lightning_collab.config.plugins import check_installed
from lightning_collab.config.section import checked
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.inspection.run_report import write_run_report
from lightning_collab.metrics.ranking_baselines import run_rankings
from lightning_collab.runs.launch import launched, with_launched_ranks
from lightning_collab.training.console import run_log
from lightning_collab.training.evaluation import measure_run
from lightning_collab.training.process import random_numbers_put_back, torch_threads_put_back
from lightning_collab.training.trained_model import TrainedModel


class Ratings(NamedTuple):
    """What a caller gives of a run's ratings; see `TrainedRun.evaluate`."""

    data: Any = None
    users: Any = None
    items: Any = None

    def of(self, config: RunConfig) -> RatingDataModule:
        """The ratings of a run, split as they were; see `data_of_run`."""
        return data_of_run(config, self.data, self.users, self.items)


def evaluate(
    run: TrainedModel,
    ratings: Ratings,
    *,
    ranking: bool,
    top_k: int | Sequence[int] | None,
    liked: Positives | None,
) -> dict[str, float]:
    """See `TrainedRun.evaluate`."""
    asked = checked(RankingConfig, {"top_k": _plain(top_k), "liked": liked})
    config = run.directory.read_config()
    with run_log(None, quiet=True), torch_threads_put_back:
        data = ratings.of(config)
        metrics, module = measure_run(config, run.directory, data, str(run.checkpoint))
        if ranking:
            model = module.model.eval()
            scores = model.ranking_scores() if config.ranks else model.item_scores()
            metrics |= run_rankings(scores, data, config, top_k=asked.top_k, liked=asked.liked)
    return metrics


def _plain(top_k: int | Sequence[int] | None) -> Any:
    return list(top_k) if isinstance(top_k, Sequence) else top_k


def report(
    run: TrainedModel, ratings: Ratings, map_method: MapChoice | None, output: Path | None
) -> Path:
    """See `TrainedRun.report`."""
    with run_log(None, quiet=True):
        data = ratings.of(run.directory.read_config())
        return write_run_report(run, data, map_method, output)


def resume(
    run: TrainedModel, ratings: Ratings, overrides: Mapping[str, Any], callbacks: Sequence[Callback]
) -> RatingDataModule | None:
    """See `TrainedRun.resume`; gives the ratings that were read."""
    directory = run.directory
    saved = directory.read_plain_config()
    check_installed(saved, directory.config_file)
    typed = [f"{key}=" for key in ("resume", *overrides)]
    asked = with_launched_ranks(with_values(saved, overrides), launched(), typed)
    with torch_threads_put_back, random_numbers_put_back():
        trained = train_run(
            validated(asked),
            directory,
            resume=True,
            read=lambda config: (config, ratings.of(config)),
            callbacks=callbacks,
        )
    return trained.data

"""The ratings of a trained run, and what it does with them once more: measure, show, go on."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import Callback

from lightning_collab.api.training import train_run
from lightning_collab.config import RunConfig, validated
from lightning_collab.config.columns import AUTO
from lightning_collab.config.commands import MapChoice, RankingConfig
from lightning_collab.config.data import CustomFileConfig, DataConfig, FrameConfig
from lightning_collab.config.model import Positives
from lightning_collab.config.overrides import with_values
from lightning_collab.config.plugins import check_installed
from lightning_collab.config.section import checked
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.sources import Caller, checked_frame, load_ratings
from lightning_collab.errors import DataError
from lightning_collab.inspection.run_report import write_run_report
from lightning_collab.metrics.ranking_baselines import run_rankings
from lightning_collab.runs.launch import launched, with_launched_ranks
from lightning_collab.training.build import load_data
from lightning_collab.training.console import run_log
from lightning_collab.training.evaluation import measure_run
from lightning_collab.training.process import random_numbers_put_back, torch_threads_put_back
from lightning_collab.training.trained_model import TrainedModel

# Keys of a source that say nothing of which ratings they are.
OF_THE_READING = ("batch_size", "cache", "path", "users_path", "items_path", "root")


def first_data(
    config: RunConfig, given: Any, users: Any = None, items: Any = None
) -> tuple[RunConfig, RatingDataModule]:
    """The ratings that a run is about to be trained on.

    Args:
        config: of the run.
        given: a frame, a path, which the config has too, or a data module.
        users: frame of users, beside a frame.
        items: frame of items, beside a frame.

    Returns:
        The config, by which a frame is known again, and the ratings, split.

    Raises:
        DataError: they cannot be read, are not what they should be, or leave a part without rows.
    """
    if isinstance(given, RatingDataModule):
        if given.settings.batch_size == config.batch_size:
            return config, given
        # A model that is solved takes all ratings at once.
        return config, load_data(config, given.table)
    if isinstance(config.data, FrameConfig):
        table, known = checked_frame(given, config.data, users=users, items=items)
        config = config.model_copy(update={"data": known})
        return config, load_data(config, table)
    return config, load_data(config, load_ratings(config.data, Caller.PYTHON, config.split))


def data_of_run(
    config: RunConfig, given: Any, users: Any = None, items: Any = None
) -> RatingDataModule:
    """The ratings of a run that has been trained, split as they were.

    Args:
        config: of the run.
        given: the run's frame, the path of its file, or a data module; None: what the config names.
        users: frame of users, beside a frame.
        items: frame of items, beside a frame.

    Raises:
        DataError: they are not to be had, or are not those of the run.
    """
    if isinstance(given, RatingDataModule):
        _check_same_source(config.data, given.source)
        return load_data(config, given.table)
    if isinstance(given, str | PathLike):
        if not isinstance(config.data, CustomFileConfig):
            raise DataError(_of_another_kind(config.data, "the path of a file"))
        path = CustomFileConfig.model_validate({**dict(config.data), "path": fspath(given)})
        return load_data(config, load_ratings(path, Caller.PYTHON, config.split))
    if given is None:
        return load_data(config, load_ratings(config.data, Caller.PYTHON, config.split))
    if not isinstance(config.data, FrameConfig):
        raise DataError(_of_another_kind(config.data, "a frame"))
    table, _ = checked_frame(given, config.data, users=users, items=items)
    return load_data(config, table)


def _check_same_source(trained: DataConfig, given: DataConfig | None) -> None:
    known, found = (
        {} if each is None else each.model_dump(exclude=set(OF_THE_READING))
        for each in (trained, given)
    )
    # Which column `auto` finds is known from the file alone.
    mine, theirs = known.pop("columns", {}), found.pop("columns", {})
    another = any(
        AUTO not in (mine[key], theirs[key]) and mine[key] != theirs[key]
        for key in mine.keys() & theirs.keys()
    )
    if another or known != found:
        raise DataError(
            f"the run was trained on data={trained.name}, and the data module is of other ratings"
        )


def _of_another_kind(trained: DataConfig, given: str) -> str:
    if isinstance(trained, FrameConfig):
        return f"the run was trained on a frame; pass that frame, not {given}"
    return f"the run was trained on data={trained.name}, which it reads itself; leave {given} out"


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

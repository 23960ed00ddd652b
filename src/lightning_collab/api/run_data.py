"""The ratings of a run: as they were given to `train`, or as a loaded run is given them again."""

from os import PathLike, fspath
from typing import Any

from lightning_collab.config import RunConfig
from lightning_collab.config.columns import AUTO
from lightning_collab.config.data import CustomFileConfig, DataConfig, FrameConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.sources import Caller, checked_frame, load_ratings
from lightning_collab.errors import DataError
from lightning_collab.training.build import load_data

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

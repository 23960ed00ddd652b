"""One module for each place that ratings come from."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lightning_collab.config.data import (
    CustomFileConfig,
    DataSource,
    FrameConfig,
    MovieLens1MConfig,
    MovieLens100KConfig,
    MovieLensLargeConfig,
    MovieLensLatestSmallConfig,
    SyntheticConfig,
)
from lightning_collab.data.checked_table import Caller
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources import custom_file, ml_100k, ml_large, ml_latest_small, synthetic
from lightning_collab.data.sources.frame import checked_frame, only_in_python
from lightning_collab.data.sources.movielens import load_release, obtained, root_folder
from lightning_collab.data.table_cache import cached_table


def load_ratings(config: DataSource, caller: Caller = Caller.COMMAND) -> RatingTable:
    """The ratings that a config asks for: parsed, or from the cache of parsed tables.

    Args:
        config: the `data` section.
        caller: in whose words advice is given.

    Raises:
        DataError: they cannot be found, downloaded or read; or they are those of a frame, which
            no config can hold (`checked_frame`).
    """
    files, load = _source(config, caller)
    if not config.cache:
        return load()
    settings = config.model_dump(mode="json", exclude={"batch_size", "cache", "root"})
    return cached_table(settings, files, load)


def _source(config: DataSource, caller: Caller) -> tuple[list[Path], Callable[[], RatingTable]]:
    """The files of a table, fetched first where they are not there, and what makes it of them."""
    match config:
        case CustomFileConfig():
            return custom_file.files(config), partial(custom_file.load, config, caller)
        case FrameConfig():
            raise only_in_python(config)
        case SyntheticConfig():
            return [], lambda: synthetic.draw(config)[0]
    root = root_folder(config.root)
    match config:
        case MovieLens100KConfig():
            return ml_100k.obtained(root), partial(ml_100k.load, root)
        case MovieLensLatestSmallConfig():
            release = ml_latest_small.EDITIONS[config.edition]
        case MovieLens1MConfig() | MovieLensLargeConfig():
            release = ml_large.RELEASES[config.name]
    return obtained(release, root), partial(load_release, release, root)


__all__ = ["Caller", "checked_frame", "load_ratings"]

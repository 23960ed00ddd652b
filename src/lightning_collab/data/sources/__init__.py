"""One module for each place that ratings come from; each has `load`."""

from pathlib import Path

from lightning_collab.config.data import (
    CustomFileConfig,
    DataSource,
    MovieLens100KConfig,
    MovieLensLargeConfig,
    MovieLensLatestSmallConfig,
    SyntheticConfig,
)
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources import custom_file, ml_100k, ml_large, ml_latest_small, synthetic
from lightning_collab.data.sources.movielens import obtained, root_folder
from lightning_collab.data.table_cache import cached_table


def load_ratings(config: DataSource) -> RatingTable:
    """The ratings that a config asks for: parsed, or from the cache of parsed tables.

    Args:
        config: the `data` section.

    Raises:
        DataError: they cannot be found, downloaded or read.
    """
    files: list[Path]
    match config:
        case MovieLens100KConfig():
            files = ml_100k.obtained(root_folder(config.root))
        case MovieLensLatestSmallConfig():
            edition = ml_latest_small.EDITIONS[config.edition]
            files = obtained(edition, root_folder(config.root))
        case MovieLensLargeConfig():
            files = obtained(ml_large.RELEASES[config.name], root_folder(config.root))
        case CustomFileConfig():
            files = custom_file.files(config)
        case SyntheticConfig():
            files = []
    if not config.cache:
        return _parsed(config)
    settings = config.model_dump(mode="json", exclude={"batch_size", "cache", "root"})
    return cached_table(settings, files, lambda: _parsed(config))


def _parsed(config: DataSource) -> RatingTable:
    match config:
        case MovieLens100KConfig():
            return ml_100k.load(root_folder(config.root))
        case MovieLensLatestSmallConfig():
            return ml_latest_small.load(root_folder(config.root), config.edition)
        case MovieLensLargeConfig():
            return ml_large.load(root_folder(config.root), config.name)
        case CustomFileConfig():
            return custom_file.load(config)
        case SyntheticConfig():
            return synthetic.load(config)


__all__ = ["load_ratings"]

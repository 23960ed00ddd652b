"""One module for each place that ratings come from; each has `load`."""

from lightning_collab.config.data import (
    DataSource,
    MovieLens100KConfig,
    MovieLensLatestSmallConfig,
)
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.root_folder import root_folder
from lightning_collab.data.sources import ml_100k, ml_latest_small


def load_ratings(config: DataSource) -> RatingTable:
    """The ratings that a config asks for.

    Args:
        config: the `data` section.

    Raises:
        DataError: they cannot be found, downloaded or read.
    """
    root = root_folder(config.root)
    match config:
        case MovieLens100KConfig():
            return ml_100k.load(root)
        case MovieLensLatestSmallConfig():
            return ml_latest_small.load(root, config.edition)


__all__ = ["load_ratings"]

"""One module for each place that ratings come from; each has `load`."""

from lightning_collab.config.data import (
    DataSource,
    MovieLens100KConfig,
    MovieLensLargeConfig,
    MovieLensLatestSmallConfig,
    OwnFileConfig,
    SyntheticConfig,
)
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.root_folder import root_folder
from lightning_collab.data.sources import (
    ml_100k,
    ml_large,
    ml_latest_small,
    own_file,
    synthetic,
)


def load_ratings(config: DataSource) -> RatingTable:
    """The ratings that a config asks for.

    Args:
        config: the `data` section.

    Raises:
        DataError: they cannot be found, downloaded or read.
    """
    match config:
        case MovieLens100KConfig():
            return ml_100k.load(root_folder(config.root))
        case MovieLensLatestSmallConfig():
            return ml_latest_small.load(root_folder(config.root), config.edition)
        case MovieLensLargeConfig():
            return ml_large.load(root_folder(config.root), config.name)
        case OwnFileConfig():
            return own_file.load(config)
        case SyntheticConfig():
            return synthetic.load(config)


__all__ = ["load_ratings"]

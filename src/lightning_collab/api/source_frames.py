"""The ratings of a source by its name, as frames."""

from typing import Any

import polars as pl

from lightning_collab.config.registry import SOURCES
from lightning_collab.config.section import checked, suggestion
from lightning_collab.data.sources import Caller
from lightning_collab.data.sources import load_ratings as table_of
from lightning_collab.data.sources.movielens import ReleaseFrames
from lightning_collab.errors import ConfigError

# What a caller has in other ways: a frame at hand, a file that `train` takes.
NOT_BY_NAME = ("frame", "csv")


def load_ratings(name: str = "ml_100k", **settings: Any) -> ReleaseFrames:
    """The ratings of a source by its name, such as MovieLens 100K, to look at and to train on.

    A release of MovieLens is looked for in `root`, then in the folder of `$LIGHTNING_COLLAB_DATA`
    or the user's cache, and is else downloaded and checked.

    Args:
        name: of the source, as `data=...` of the commands: `ml_100k`, `ml_latest_small`, `ml_1m`,
            `synthetic`, ...
        settings: further keys of the `data` section, such as `root` (the folder of the raw files)
            or `edition`.

    Returns:
        `ratings`, `users` and `items`. `ratings`: `user`, `item`, `rating` (Float32, in rating
        units; not where the data are choices), `timestamp` (Int64, seconds since 1970) and
        `weight` (Float32) where the source has them, in its order. `users` and `items`: a row each
        with what the source says of them (`title`, `genres`), or None.

    Raises:
        ConfigError: there is no such source, or a setting makes no sense.
        DataError: the ratings can be found nowhere, or a file does not parse.

    Example:
        >>> ratings, users, items = lightning_collab.load_ratings("synthetic", ratings=2000)
        >>> ratings.columns
        ['user', 'item', 'rating']
    """
    names = [each for each in SOURCES.names if each not in NOT_BY_NAME]
    if name not in names:
        raise ConfigError(
            f"load_ratings: there is no source {name!r}; {suggestion(str(name), names)}"
        )
    config = checked(SOURCES[name], {"name": name, **settings}, at="data")
    table = table_of(config, Caller.PYTHON)
    columns: dict[str, pl.Series] = {
        "user": table.user_vocabulary.ids.gather(table.users - 1),
        "item": table.item_vocabulary.ids.gather(table.items - 1),
    }
    if not table.implicit:
        columns["rating"] = pl.Series(table.ratings)
    optional = {"timestamp": table.timestamps, "weight": table.weights}
    columns |= {key: pl.Series(each) for key, each in optional.items() if each is not None}
    return ReleaseFrames(pl.DataFrame(columns), table.user_features, table.item_features)

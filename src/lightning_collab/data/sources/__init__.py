"""Modules for the places that ratings come from."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from lightning_collab.config.data import (
    CustomFileConfig,
    DataConfig,
    FrameConfig,
    MovieLens1MConfig,
    MovieLens100KConfig,
    MovieLensLargeConfig,
    MovieLensLatestSmallConfig,
    SyntheticConfig,
)
from lightning_collab.config.split import RandomSplitConfig, SplitConfig
from lightning_collab.data.checked_table import Caller, kept_rows
from lightning_collab.data.rating_table import RatingTable, with_one_rating_each
from lightning_collab.data.sources import custom_file, ml_100k, ml_large, synthetic
from lightning_collab.data.sources.frame import checked_frame, only_in_python
from lightning_collab.data.sources.movielens import Release, load_release, obtained, root_folder
from lightning_collab.data.table_cache import cached_table
from lightning_collab.errors import DataError, shape_of


def load_ratings(
    config: DataConfig, caller: Caller = Caller.COMMAND, split: SplitConfig | None = None
) -> RatingTable:
    """The ratings that a config asks for: parsed, or from the cache of parsed tables.

    Args:
        config: the `data` section.
        caller: in whose words advice is given.
        split: which those that stay on disk are written by; None: 80% train, 10% validate and 10%
            test. Others are split later.

    Raises:
        DataError: they cannot be found, downloaded or read; a source of others gives no table; or
            they are those of a frame, which no config can hold (`checked_frame`).
    """
    if type(config).load is not DataConfig.load:
        method = f"data={config.name}: {type(config).__name__}.load"
        return kept_rows(_checked(config.load(), method), config, caller)
    if config.mapped:
        # Kernels, which other runs start without.
        from lightning_collab.data.mapping import mapped_table

        return mapped_table(config, split or RandomSplitConfig(), caller)
    files, load = _source(config, caller)
    if config.cache:
        settings = config.model_dump(mode="json", exclude=_unread(config))
        return kept_rows(cached_table(settings, files, load), config, caller)
    return kept_rows(load(), config, caller)


def _unread(config: DataConfig) -> set[str]:
    """Keys that say nothing of how a table is read."""
    keys = {"batch_size", "cache", "root", "k_core", "storage", "shuffle_window"}
    # Low ratings of a file are left out before several of a pair become one.
    return keys if isinstance(config, CustomFileConfig) else keys | {"min_rating"}


def _source(config: DataConfig, caller: Caller) -> tuple[list[Path], Callable[[], RatingTable]]:
    """The files of a table, fetched first where they are not there, and what makes it of them."""
    match config:
        case CustomFileConfig():
            return custom_file.files(config), partial(custom_file.load, config, caller)
        case FrameConfig():
            raise only_in_python(config)
        case SyntheticConfig():
            return [], lambda: synthetic.draw(config)[0]
        case MovieLens100KConfig():
            root = root_folder(config.root)
            return ml_100k.obtained(root), partial(ml_100k.load, root)
        case MovieLensLatestSmallConfig():
            return _of_release(ml_large.EDITIONS[config.edition], config.root)
        case MovieLens1MConfig() | MovieLensLargeConfig():
            return _of_release(ml_large.RELEASES[config.name], config.root)
    raise TypeError(f"{type(config).__name__} is no source of ours and has no method load")


def _of_release(
    release: Release, folder: str | None
) -> tuple[list[Path], Callable[[], RatingTable]]:
    root = root_folder(folder)
    return obtained(release, root), partial(load_release, release, root)


def _checked(table: object, method: str) -> RatingTable:
    """Hold the result of a source of others to what `RatingTable` promises."""
    if not isinstance(table, RatingTable):
        raise DataError(f"{method} must return a RatingTable, and gave {type(table).__name__}")
    rows = len(table.ratings)
    columns: dict[str, type] = {"users": np.int32, "items": np.int32, "ratings": np.float32}
    if table.timestamps is not None:
        columns["timestamps"] = np.int64
    if table.weights is not None:
        columns["weights"] = np.float32
    for name, kind in columns.items():
        column = getattr(table, name)
        if not isinstance(column, np.ndarray) or column.dtype != kind or column.shape != (rows,):
            raise DataError(
                f"{method}: {name} must be {np.dtype(kind)} [{rows}], as long as ratings, and is "
                f"{shape_of(column)}"
            )
    if not rows:
        raise DataError(f"{method} gave a table without any rating")
    for name, vocabulary in (("users", table.user_vocabulary), ("items", table.item_vocabulary)):
        column = getattr(table, name)
        if column.min() < 1 or column.max() >= len(vocabulary):
            raise DataError(
                f"{method}: {name} must be rows 1 to {len(vocabulary) - 1} of the vocabulary, and "
                f"are {column.min()} to {column.max()}"
            )
    low, high = table.rating_range
    if not (low < high and low <= table.ratings.min() and table.ratings.max() <= high):
        raise DataError(
            f"{method}: ratings must be within rating_range, which is {table.rating_range}, and "
            f"are {table.ratings.min()} to {table.ratings.max()}"
        )
    if table.implicit and (table.ratings != 1).any():
        raise DataError(f"{method}: ratings of an implicit table must all be 1")
    if table.weights is not None and not (np.isfinite(table.weights) & (table.weights > 0)).all():
        raise DataError(f"{method}: weights must be finite and above 0")
    return with_one_rating_each(table, "error", None)


__all__ = ["Caller", "checked_frame", "load_ratings"]

"""From the `features` section to blocks and effects."""

import logging
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import psutil
from numpy.typing import NDArray

from lightning_collab.config.data import (
    BinnedConfig,
    CategoryConfig,
    Feature,
    FeaturesConfig,
    HistoryConfig,
)
from lightning_collab.data.features.blocks import (
    FeatureBlock,
    binned_block,
    category_block,
    history_block,
)
from lightning_collab.data.features.time_effect import TimeEffect
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

# Of a history while it is built: its pairs, the unsorted and the sorted matrix.
BYTES_AN_ENTRY = 40


class FeatureSet(NamedTuple):
    """What a model is told beside ids.

    Attributes:
        users: blocks of the users.
        items: blocks of the items.
        time: effects of time.
    """

    users: tuple[FeatureBlock, ...] = ()
    items: tuple[FeatureBlock, ...] = ()
    time: tuple[TimeEffect, ...] = ()


class TrainingRows(NamedTuple):
    """What features may be made of.

    Attributes:
        users: int32 [n], rows of the training vocabulary, above 0.
        items: int32 [n], rows of the training vocabulary, above 0.
        day: int32 [n], days since 1970; None where the source has no timestamps.
        user_vocabulary: of the training part.
        item_vocabulary: of the training part.
        user_features: of the source, see `RatingTable`.
        item_features: of the source, see `RatingTable`.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    day: NDArray[np.int32] | None
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    user_features: pl.DataFrame | None
    item_features: pl.DataFrame | None


def build_features(config: FeaturesConfig, train: TrainingRows) -> FeatureSet:
    """The blocks and effects that a config asks for.

    Args:
        config: the `features` section.
        train: the training ratings, and what the source says of users and items.

    Raises:
        DataError: a column that the data does not have or that has one value only, a binned
            column without numbers, an effect of time without timestamps, or more features than
            memory allows.
    """
    _check_memory(config, train)
    time = []
    for name, each in config.time.items():
        if train.day is None:
            raise DataError(
                f"features.time.{name} needs timestamps, which the data does not have; leave it "
                f"out: ~features.time.{name}"
            )
        rows = train.users if each.of == "users" else train.items
        time.append(TimeEffect.fit(name, each.of, each.days, rows, train.day))
    return FeatureSet(
        users=_blocks("users", config.users, train),
        items=_blocks("items", config.items, train),
        time=tuple(time),
    )


def _blocks(
    side: Literal["users", "items"], blocks: Mapping[str, Feature], train: TrainingRows
) -> tuple[FeatureBlock, ...]:
    built = []
    if side == "users":
        rows, others, own, other = (
            train.users,
            train.items,
            train.user_vocabulary,
            train.item_vocabulary,
        )
        table = train.user_features
    else:
        rows, others, own, other = (
            train.items,
            train.users,
            train.item_vocabulary,
            train.user_vocabulary,
        )
        table = train.item_features
    for name, config in blocks.items():
        key = f"features.{side}.{name}"
        if isinstance(config, HistoryConfig):
            built.append(history_block(name, rows, others, row_count=len(own), other_ids=other.ids))
            continue
        column = _column(key, config, table, side, own)
        if column is None:
            log.info("%s: the data has no column %r; left out", key, config.column)
        elif isinstance(config, CategoryConfig):
            built.append(category_block(key, name, column))
        else:
            built.append(binned_block(key, name, column, config.bins))
    return tuple(built)


def _column(
    key: str,
    config: CategoryConfig | BinnedConfig,
    table: pl.DataFrame | None,
    side: str,
    vocabulary: Vocabulary,
) -> pl.Series | None:
    """A column in the order of the vocabulary; None where it is absent and may be."""
    if table is None or config.column not in table.columns:
        if config.if_absent == "skip":
            return None
        known = "nothing" if table is None else ", ".join(table.columns[1:]) or "nothing"
        raise DataError(
            f"{key}: the data has no column {config.column!r} of {side}; it has {known}. Name "
            f"another, leave the block out (~{key}), or set {key}.if_absent=skip"
        )
    identity = table.columns[0]
    ids = vocabulary.ids.alias(identity).to_frame()
    chosen = table.select(identity, pl.col(config.column).alias("value"))
    joined = ids.join(chosen, on=identity, how="left", maintain_order="left")
    return joined["value"].alias(config.column)


def _check_memory(config: FeaturesConfig, train: TrainingRows) -> None:
    """Refuse what cannot be built, before it is begun."""
    histories = sum(
        isinstance(each, HistoryConfig) for each in [*config.users.values(), *config.items.values()]
    )
    needed = len(train.users) * BYTES_AN_ENTRY * (histories + len(config.time))
    free = psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"features: more than memory allows: {histories} histories and {len(config.time)} "
            f"effects of time of {len(train.users):,} ratings need about {needed / 2**30:.1f} "
            f"GiB while they are built, and {free / 2**30:.1f} GiB are free; leave blocks out, "
            "for example features=none"
        )

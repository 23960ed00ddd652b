"""From the `features` section to blocks and effects; those of time are of a user or an item."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import psutil
from numpy.typing import NDArray

from lightning_collab.config.data import (
    BinnedConfig,
    CategoryConfig,
    ColumnsFeatureConfig,
    Feature,
    FeaturesConfig,
    HistoryConfig,
    NumberConfig,
    OfAColumn,
)
from lightning_collab.data.features.blocks import (
    FeatureBlock,
    binned_block,
    category_block,
    history_block,
    intercept_block,
    number_block,
    text_block,
)
from lightning_collab.data.features.encoders import Encoder
from lightning_collab.data.vocabulary import UNKNOWN_ROW, Side, Vocabulary
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

# Of a history while it is built: its pairs, the unsorted and the sorted matrix.
BYTES_AN_ENTRY = 40


@dataclass(frozen=True, eq=False)
class TimeEffect:
    """The pairs of user (or item) and period that training ratings have.

    A period is `days` days long; the first one begins with the day of the first training rating.

    Attributes:
        name: of the effect, by which the config names it.
        of: whose effect it is.
        days: length of a period.
        first_day: days since 1970 at which period 0 begins.
        periods: how many there are up to the last training rating.
        keys: int64 [known pairs], ascending: row * periods + period.
    """

    name: str
    of: Literal["users", "items"]
    days: int
    first_day: int
    periods: int
    keys: NDArray[np.int64]

    @classmethod
    def fit(
        cls,
        name: str,
        of: Literal["users", "items"],
        days: int,
        rows: NDArray[np.int32],
        day: NDArray[np.int32],
    ) -> "TimeEffect":
        """The pairs of some training ratings.

        Args:
            name: of the effect.
            of: whose rows these are.
            days: length of a period.
            rows: int32 [n], rows of users or of items, above 0.
            day: int32 [n], days since 1970.
        """
        first_day = int(day.min())
        period = (day.astype(np.int64) - first_day) // days
        periods = int(period.max()) + 1
        return cls(name, of, days, first_day, periods, np.unique(rows * periods + period))

    def rows(
        self, user_or_item_rows: NDArray[np.integer[Any]], day: NDArray[np.integer[Any]]
    ) -> NDArray[np.int64]:
        """Which known pair each rating is of.

        Args:
            user_or_item_rows: int [n], rows of users or of items, as `of` says.
            day: int [n], days since 1970.

        Returns:
            int64 [n], position of the pair in `keys` plus 1; 0 where it is not known.
        """
        period = (np.asarray(day, dtype=np.int64) - self.first_day) // self.days
        rows = np.asarray(user_or_item_rows, dtype=np.int64)
        keys = rows * self.periods + period
        inside = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = (
            (self.keys[inside] == keys)
            & (period >= 0)
            & (period < self.periods)
            & (rows != UNKNOWN_ROW)
        )
        return np.where(known, inside + 1, 0)


class FeatureSet(NamedTuple):
    """What a model is told beside ids.

    Attributes:
        users: blocks of the users.
        items: blocks of the items.
        time: effects of time.
        id_dropout: share of the items whose own rows are left out in a step.
    """

    users: tuple[FeatureBlock, ...] = ()
    items: tuple[FeatureBlock, ...] = ()
    time: tuple[TimeEffect, ...] = ()
    id_dropout: float = 0.0


class SideRows(NamedTuple):
    """What features of users, or of items, may be made of.

    Attributes:
        rows: int32 [n], rows of the training vocabulary, above 0.
        vocabulary: of the training part.
        features: of the source, see `RatingTable`.
    """

    rows: NDArray[np.int32]
    vocabulary: Vocabulary
    features: pl.DataFrame | None


class TrainingRows(NamedTuple):
    """What features may be made of.

    Attributes:
        users: of the training ratings.
        items: of the training ratings.
        day: int32 [n], days since 1970; None where the source has no timestamps.
    """

    users: SideRows
    items: SideRows
    day: NDArray[np.int32] | None


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
                f"features.time.{name} needs timestamps, which the data does not have; name their "
                "column by data.columns.timestamp (timestamp= in Python), or leave the effect out: "
                f"~features.time.{name}"
            )
        of = train.users if each.of == "users" else train.items
        time.append(TimeEffect.fit(name, each.of, each.days, of.rows, train.day))
    users = _blocks("users", config.users, train.users, train.items)
    items = _blocks("items", config.items, train.items, train.users)
    if not config.id_dropout:
        return FeatureSet(users, items, tuple(time))
    if all(block.is_history for block in items):
        raise DataError(
            "features.id_dropout: the data has nothing about items that could stand in for their "
            "rows; set features.id_dropout=0, or provide a table of items"
        )
    # What all items have in common must not be in rows that may be left out.
    intercept = intercept_block(len(train.items.vocabulary))
    return FeatureSet(users, (*items, intercept), tuple(time), config.id_dropout)


def _blocks(
    side: Side, blocks: Mapping[str, Feature], own: SideRows, other: SideRows
) -> tuple[FeatureBlock, ...]:
    built: list[FeatureBlock] = []
    size, other_ids = len(own.vocabulary), other.vocabulary.ids
    for name, config in blocks.items():
        key = f"features.{side}.{name}"
        if isinstance(config, HistoryConfig):
            built.append(
                history_block(name, own.rows, other.rows, row_count=size, other_ids=other_ids)
            )
            continue
        if isinstance(config, ColumnsFeatureConfig):
            built += _every_column(key, name, side, own)
            continue
        column = _column(key, config, side, own)
        if column is None:
            log.info("%s: the data has no column %r; left out", key, config.column)
        elif isinstance(config, CategoryConfig):
            built.append(category_block(key, name, column))
        elif isinstance(config, BinnedConfig):
            built.append(binned_block(key, name, column, config.bins))
        elif isinstance(config, NumberConfig):
            built.append(number_block(key, name, column))
        else:
            built.append(text_block(key, name, column, config.hashes))
    return tuple(built)


def _every_column(key: str, name: str, side: Side, own: SideRows) -> list[FeatureBlock]:
    """A block for each column that says something; the log tells which, and which do not."""
    if own.features is None:
        log.info("%s: the data has no table of %s; left out", key, side)
        return []
    found = describing_blocks(lines_of(own.features, own.vocabulary.ids))
    taken = [f"{block.encoder.column} ({block.encoder.kind})" for block in found if block.encoder]
    left = [each for each in own.features.columns[1:] if each not in {b.name for b in found}]
    log.info(
        "%s: %s%s",
        key,
        ", ".join(taken) or "no column is informative",
        f"; left out, since they have one value only, or a different one nearly everywhere: "
        f"{', '.join(left)}"
        if left
        else "",
    )
    return [block._replace(name=f"{name}:{block.name}") for block in found]


# A column of text with more values than one for so many ids is a name, and describes nobody else.
IDS_A_VALUE = 4
BINS = 10


def describing_encoders(table: pl.DataFrame) -> tuple[Encoder, ...]:
    """Encoders of all columns of a table that say something; see `describing_blocks`.

    Args:
        table: a line for each known id: raw id, then any columns.
    """
    return tuple(block.encoder for block in describing_blocks(table) if block.encoder)


def describing_blocks(table: pl.DataFrame) -> list[FeatureBlock]:
    """Blocks of all columns of a table that say something of ids beside those that have it.

    Args:
        table: a line for each known id: raw id, then any columns.

    Returns:
        Of texts and lists each value, of numbers bins; columns of one value, of dates, and those
        in which nearly each line has a value of its own are left out.
    """
    found = []
    for column in table.iter_columns():
        kind, name = column.dtype, column.name
        if name == table.columns[0]:
            continue
        nested = isinstance(kind, pl.List | pl.Array)
        values = column.explode() if nested else column
        distinct = values.drop_nulls().n_unique()
        if distinct < 2:
            continue
        if kind.is_numeric() and distinct > BINS:
            found.append(binned_block(name, name, column, BINS, quiet=True))
        elif (kind.is_numeric() or values.dtype == pl.String or kind == pl.Boolean) and (
            distinct * IDS_A_VALUE <= len(column)
        ):
            found.append(category_block(name, name, column, quiet=True))
    return found


def lines_of(table: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """The lines of some ids in a table of users or items, in their order; nulls for those without.

    Args:
        table: raw ids in the first column.
        ids: raw ids.
    """
    identity = table.columns[0]
    wanted = ids.cast(table.schema[identity], strict=False).alias(identity).to_frame()
    return wanted.join(table, on=identity, how="left", maintain_order="left")


def _column(key: str, config: OfAColumn, side: Side, own: SideRows) -> pl.Series | None:
    """A column in the order of the vocabulary; None where it is absent and may be."""
    table = own.features
    if table is None or config.column not in table.columns:
        if config.if_absent == "skip":
            return None
        known = "nothing" if table is None else ", ".join(table.columns[1:]) or "nothing"
        raise DataError(
            f"{key}: the data has no column {config.column!r} of {side}; it has {known}. Name "
            f"another, leave the block out (~{key}), or set {key}.if_absent=skip"
        )
    chosen = table.select(table.columns[0], pl.col(config.column).alias("value"))
    return lines_of(chosen, own.vocabulary.ids)["value"].alias(config.column)


def _check_memory(config: FeaturesConfig, train: TrainingRows) -> None:
    """Refuse what cannot be built, before it is begun."""
    histories = sum(
        isinstance(each, HistoryConfig) for each in [*config.users.values(), *config.items.values()]
    )
    needed = len(train.users.rows) * BYTES_AN_ENTRY * (histories + len(config.time))
    free = psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"features: more than memory allows: {histories} histories and {len(config.time)} "
            f"effects of time of {len(train.users.rows):,} ratings need about {needed / 2**30:.1f} "
            f"GiB while they are built, and {free / 2**30:.1f} GiB are free; leave blocks out, "
            "for example features=none"
        )

"""What must hold of ratings as a whole, and which of them are looked at.

Protocols leave out low ratings, and rare users and items.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.config.data import DataConfig
from lightning_collab.data.column_rules import PARTS
from lightning_collab.data.rating_table import IMPLICIT_RANGE, RatingTable
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

# Of a setting that is advised.
Value = str | bool | int | tuple[float, ...] | None
# A rating farther from all others than so many times what they span is a slip of somebody's pen.
OUTLIER_SPANS = 10
# Of all rows: rarer values may be outliers, commoner ones marks that mean "no rating".
RARE, COMMON = 0.001, 0.01
# Ids that a warning names.
NAMED = 3


class Caller(Enum):
    """Who asked for ratings, and so in whose words advice is given."""

    COMMAND = "a command, by keys of the section `data`"
    PYTHON = "a program, by arguments"

    def key(self, name: str) -> str:
        """A setting by its name: `data.columns.user`, or `user=`."""
        if self is Caller.COMMAND:
            return f"data.{name}"
        return f"{name.removeprefix('columns.')}="

    def setting(self, name: str, value: Value) -> str:
        """A setting with a value, to be pasted: `data.duplicates=last`, or `duplicates="last"`."""
        if self is Caller.PYTHON:
            return f"{self.key(name)}{_in_python(value)}"
        if value is None:
            return f"{self.key(name)}=null"
        if isinstance(value, tuple):
            return f"{self.key(name)}=[{','.join(f'{end:g}' for end in value)}]"
        if isinstance(value, bool | int):
            return f"{self.key(name)}={str(value).lower()}"
        if value.replace("_", "").replace("-", "").isalnum():
            return f"{self.key(name)}={value}"
        return f"'{self.key(name)}=\"{value}\"'"

    def advice(self, name: str, *values: Value) -> str:
        """What to do, by one of some values: `set data.duplicates=last or data.duplicates=mean`."""
        verb = "set" if self is Caller.COMMAND else "pass"
        return f"{verb} {' or '.join(self.setting(name, value) for value in values)}"


def _in_python(value: Any) -> str:
    if isinstance(value, tuple):
        ends = ", ".join(f"{end:g}" for end in value)
        return f"({ends})" if len(value) > 1 else f"[{ends}]"
    if value is None or isinstance(value, bool):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def checked_table(
    frame: pl.DataFrame,
    *,
    name: str,
    title: str,
    caller: Caller,
    rating_range: tuple[float, float] | None,
    user_features: pl.DataFrame | None = None,
    item_features: pl.DataFrame | None = None,
    parts: Mapping[str, NDArray[np.int32]] | None = None,
) -> RatingTable:
    """A table of rows whose values have been checked one by one.

    Args:
        frame: as for `RatingTable.of_checked`, without a column `rating` where the data has none;
            a column `part` names the part of each row.
        name: of the data set.
        title: what the rows come from, as messages name it.
        caller: in whose words advice is given.
        rating_range: the ends of the scale; None: those found.
        user_features: as in `RatingTable`.
        item_features: as in `RatingTable`.
        parts: as in `RatingTable`, where no column says it.

    Raises:
        DataError: there is only one user, or no scale can be found.
    """
    table = RatingTable.of_checked(
        frame,
        name=name,
        user_features=user_features,
        item_features=item_features,
        rating_range=_range(frame, rating_range, title, caller),
        parts=_named_parts(frame) if "part" in frame.columns else parts,
    )
    for side, vocabulary in (("user", table.user_vocabulary), ("item", table.item_vocabulary)):
        if len(vocabulary) <= 2:
            raise DataError(
                f"{title}: all {len(table)} {table.rows_called} are of one {side}; learning from "
                f"{table.rows_called} needs several (is {caller.key(f'columns.{side}')} the right "
                "column?)"
            )
    for side, features, ids in (
        ("user", user_features, table.user_vocabulary.ids),
        ("item", item_features, table.item_vocabulary.ids),
    ):
        if features is not None:
            _say_what_is_described(features[side], ids, side, title)
    return table


def _say_what_is_described(described: pl.Series, ids: pl.Series, side: str, title: str) -> None:
    known = int(described.is_in(ids.implode()).sum())
    if known:
        log.info("%s: %d of %d %ss are described by their table", title, known, len(ids), side)
        return
    log.warning(
        "%s: the table of %ss describes none of the %d %ss: its ids are like %s, and those of the "
        "%s like %s",
        *(title, side, len(ids), side, ", ".join(map(repr, described.head(NAMED).to_list()))),
        *("rows", ", ".join(map(repr, ids.head(NAMED).to_list()))),
    )


def _range(
    frame: pl.DataFrame, named: tuple[float, float] | None, title: str, caller: Caller
) -> tuple[float, float]:
    """The ends of the scale; of data without ratings those of nothing and a choice."""
    if "rating" not in frame.columns:
        return IMPLICIT_RANGE
    if named is not None:
        return named
    low, high = frame.select(pl.col("rating").min(), high=pl.col("rating").max()).row(0)
    return found_scale(frame["rating"].value_counts(), (low, high), title, caller)


def found_scale(
    counts: pl.DataFrame | None, ends: tuple[float, float], title: str, caller: Caller
) -> tuple[float, float]:
    """The lowest and the highest rating, where these can be the ends of a scale.

    Args:
        counts: `rating` and `count` of each that occurs; None: they are too many to be looked at.
        ends: lowest and highest.
        title: what the rows come from, as messages name it.
        caller: in whose words advice is given.

    Raises:
        DataError: they are one, or farther apart than the others by orders of magnitude.
    """
    low, high = ends
    if low == high:
        raise DataError(
            f"{title}: every rating is {low:g}, which is not a scale; set it, such as "
            f"{caller.setting('rating_range', (1, 5))}"
        )
    if counts is not None:
        _check_ends(counts.sort("rating"), title, caller)
    key = caller.key("rating_range")
    log.info("%s: ratings from %g to %g taken as the scale (%s)", title, low, high, key)
    return float(low), float(high)


def _check_ends(counts: pl.DataFrame, title: str, caller: Caller) -> None:
    """Refuse a scale that a few odd rows would make, and warn of marks that may be no ratings.

    Raises:
        DataError: a few ratings are farther from the others by orders of magnitude.
    """
    of_all = int(counts["count"].sum())
    for values in (counts, counts.reverse()):
        value, count = values["rating"].to_list(), values["count"].to_list()
        rows = 0
        for place in range(min(3, len(value) - 2)):
            rows += count[place]
            gap, span = abs(value[place + 1] - value[place]), abs(value[-1] - value[place + 1])
            low, high = sorted((value[place + 1], value[-1]))
            if gap > OUTLIER_SPANS * span and rows <= max(1, RARE * of_all):
                whole = (min(value[0], low), max(value[0], high))
                raise DataError(
                    f"{title}: "
                    f"{'a rating is' if rows == 1 else f'{rows} ratings are far off, such as'} "
                    f"{value[0]:g}, and all others are from {low:g} to {high:g}. If it means no "
                    f"rating, {caller.advice('missing', tuple(value[: place + 1]))}; if the "
                    f"scale goes so far, {caller.advice('rating_range', whole)}"
                )
        if len(value) < 4 or count[0] < max(3, COMMON * of_all):
            continue
        gap, span = abs(value[1] - value[0]), abs(value[-1] - value[1])
        steps = [abs(b - a) for a, b in pairwise(value[1:])]
        if gap > span or (value[0] < 0 <= value[1] and gap >= 1.5 * max(steps)):
            log.warning(
                "%s: %d ratings are %g, far from the others (%g to %g); if it means no rating, %s",
                *(title, count[0], value[0], *sorted((value[1], value[-1]))),
                caller.advice("missing", (value[0],)),
            )


def _named_parts(frame: pl.DataFrame) -> dict[str, NDArray[np.int32]]:
    named = frame["part"].to_numpy()
    return {
        part: np.flatnonzero(named == part).astype(np.int32)
        for part in PARTS
        if (named == part).any()
    }


def kept_rows(table: RatingTable, config: DataConfig, caller: Caller) -> RatingTable:
    """The rows that `data.min_rating` and `data.k_core` leave, and the users and items in them.

    Args:
        table: each pair of user and item in it at most once.
        config: the `data` section.
        caller: in whose words messages are.

    Raises:
        DataError: no row is left.
    """
    asked = {"min_rating": config.min_rating, "k_core": config.k_core}
    keys = ", ".join(
        f"{caller.key(key)}{'' if caller is Caller.PYTHON else '='}{value:g}"
        for key, value in asked.items()
        if value is not None
    )
    if not keys:
        return table
    kept = with_known_vocabularies(
        in_core(rated_at_least(table, config.min_rating, caller), config.k_core, caller)
    )
    log.info(
        "%s: %d %s of %d users and %d items are left (%s)",
        *(table.name, len(kept), table.rows_called),
        *(len(kept.user_vocabulary) - 1, len(kept.item_vocabulary) - 1, keys),
    )
    return kept


def rated_at_least(table: RatingTable, lowest: float | None, caller: Caller) -> RatingTable:
    """The rows with a rating of `lowest` or more.

    Args:
        table: all ratings.
        lowest: None: all rows are kept.
        caller: in whose words messages are.

    Raises:
        DataError: no row is left, or the data has no ratings.
    """
    if lowest is None:
        return table
    if table.implicit:
        raise DataError(f"{caller.key('min_rating')}: {table.name} has no ratings")
    # As the ratings are kept: 3.3 is a little more, or less, as a float of 32 bits.
    kept = np.flatnonzero(table.ratings >= np.float32(lowest))
    if not len(kept):
        raise DataError(
            f"{table.name}: no rating is {lowest:g} or more ({caller.key('min_rating')}); the "
            f"highest is {table.ratings.max():g}"
        )
    return table if len(kept) == len(table) else table.only(kept)


def in_core(table: RatingTable, k: int | None, caller: Caller) -> RatingTable:
    """The k-core: the most rows in which each user and each item has `k` or more.

    Users and items that have fewer are left out in turn until none does; the order makes no
    difference to what is left.

    Args:
        table: each pair of user and item in it at most once.
        k: None: all rows are kept.
        caller: in whose words messages are.

    Raises:
        DataError: no row is left.
    """
    if k is None:
        return table
    kept = np.arange(len(table))
    while True:
        enough = np.ones(len(kept), dtype=bool)
        for column in (table.users, table.items):
            rows = column[kept]
            enough &= np.bincount(rows)[rows] >= k
        if enough.all():
            break
        kept = kept[enough]
        if not len(kept):
            raise DataError(
                f"{table.name}: no users and items have {k} {table.rows_called} or more among "
                f"each other ({caller.key('k_core')}); lower it"
            )
    return table if len(kept) == len(table) else table.only(kept)


def with_known_vocabularies(table: RatingTable) -> RatingTable:
    """The same rows, with the ids alone that occur in them.

    Args:
        table: any.
    """
    users, user_row = table.user_vocabulary.restricted_to(table.users)
    items, item_row = table.item_vocabulary.restricted_to(table.items)
    return replace(
        table,
        users=user_row[table.users],
        items=item_row[table.items],
        user_vocabulary=users,
        item_vocabulary=items,
    )

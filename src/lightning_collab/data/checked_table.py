"""What must hold of ratings as a whole, whether they come from a file or from a frame."""

import json
import logging
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.data.column_rules import PARTS
from lightning_collab.data.rating_table import IMPLICIT_RANGE, RatingTable
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)


class Caller(Enum):
    """Who asked for ratings, and so in whose words advice is given."""

    COMMAND = "a command, by keys of the section `data`"
    PYTHON = "a program, by arguments"

    def key(self, name: str) -> str:
        """A setting by its name: `data.columns.user`, or `user=`."""
        if self is Caller.COMMAND:
            return f"data.{name}"
        return f"{name.removeprefix('columns.')}="

    def setting(self, name: str, value: str | tuple[float, float] | None) -> str:
        """A setting with a value, to be pasted: `data.duplicates=last`, or `duplicates="last"`."""
        if self is Caller.PYTHON:
            return f"{self.key(name)}{_in_python(value)}"
        if value is None:
            return f"{self.key(name)}=null"
        if isinstance(value, tuple):
            return f"{self.key(name)}=[{','.join(f'{end:g}' for end in value)}]"
        if value.replace("-", "").isalnum():
            return f"{self.key(name)}={value}"
        return f"'{self.key(name)}=\"{value}\"'"

    def advice(self, name: str, *values: str | None) -> str:
        """What to do, by one of some values: `set data.duplicates=last or data.duplicates=mean`."""
        verb = "set" if self is Caller.COMMAND else "pass"
        return f"{verb} {' or '.join(self.setting(name, value) for value in values)}"


def _in_python(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(f'{end:g}' for end in value)})"
    if value is None:
        return "None"
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
    if len(table.user_vocabulary) <= 2:
        raise DataError(
            f"{title}: all {len(table)} {table.rows_called} are of one user; learning from "
            f"{table.rows_called} needs several (is {caller.key('columns.user')} the right column?)"
        )
    return table


def _range(
    frame: pl.DataFrame, named: tuple[float, float] | None, title: str, caller: Caller
) -> tuple[float, float]:
    """The ends of the scale; of data without ratings those of nothing and a choice."""
    if "rating" not in frame.columns:
        return IMPLICIT_RANGE
    if named is not None:
        return named
    low, high = frame.select(pl.col("rating").min(), high=pl.col("rating").max()).row(0)
    if low == high:
        raise DataError(
            f"{title}: every rating is {low:g}, which is no scale; name it, such as "
            f"{caller.setting('rating_range', (1, 5))}"
        )
    key = caller.key("rating_range")
    log.info("%s: ratings from %g to %g taken as the scale (%s)", title, low, high, key)
    return float(low), float(high)


def _named_parts(frame: pl.DataFrame) -> dict[str, NDArray[np.int32]]:
    named = frame["part"].to_numpy()
    return {
        part: np.flatnonzero(named == part).astype(np.int32)
        for part in PARTS
        if (named == part).any()
    }

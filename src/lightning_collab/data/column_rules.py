"""What must hold of columns and each value in them, times too, and how to say where it does not."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.errors import DataError

# The year 5138: a larger number is milliseconds or something finer.
LATEST_SECONDS = 10**11
# How many of each a second has.
Unit = Literal["s", "ms", "us"]
UNITS: dict[Unit, int] = {"s": 1, "ms": 1000, "us": 1_000_000}


class Place(NamedTuple):
    """Where rows come from, as messages name it.

    Attributes:
        name: of the whole, such as the path of a file.
        at: from a row number, counted from 0, to the place of that row.
        unit: what a row is called.
        absent: what is said in place of a value that is not there.
    """

    name: str
    at: Callable[[int], str]
    unit: str = "row"
    absent: str = "''"

    @classmethod
    def lines(cls, path: Path, numbers: NDArray[np.integer[Any]]) -> Self:
        """Lines of a text file, by the number of each."""
        return cls(str(path), lambda row: f"{path}, line {numbers[row]}", unit="line")

    @classmethod
    def rows(cls, path: Path) -> Self:
        """Rows of a file, counted from 1."""
        return cls(str(path), lambda row: f"{path}, row {row + 1}")

    @classmethod
    def frame(cls, name: str) -> Self:
        """Rows of a frame in Python, counted from 0 as Python does."""
        return cls(
            name, lambda row: f"row {row} of {name} (counted from 0)", absent="a missing value"
        )


@dataclass(frozen=True)
class Rule:
    """Something that each value of a column must fulfill.

    Attributes:
        column: its name.
        holds: of each row, Boolean; null counts as false.
        complaint: what is said of a value for which it does not hold.
    """

    column: str
    holds: pl.Expr
    complaint: str

    @classmethod
    def number(cls, column: str) -> Self:
        """The text was a number."""
        return cls(column, pl.col(column).is_not_null(), f"is not a valid {column}")

    @classmethod
    def finite(cls, column: str) -> Self:
        """Neither NaN nor infinite."""
        return cls(column, pl.col(column).is_finite(), f"is not a valid {column}")

    @classmethod
    def above_zero(cls, column: str) -> Self:
        """A finite number above 0."""
        above = pl.col(column).is_finite() & (pl.col(column) > 0)
        return cls(column, above, f"is not a valid {column}: a finite number above 0")

    @classmethod
    def within(cls, column: str, low: float, high: float) -> Self:
        """On the scale."""
        inside = pl.col(column).is_between(low, high)
        return cls(column, inside, f"is outside the scale of {low:g} to {high:g}")

    @classmethod
    def whole_id(cls, column: str) -> Self:
        """An integer id counts up from 0 or 1."""
        complaint = f"is not a valid {column}: an id that is a number is never negative"
        return cls(column, pl.col(column) >= 0, complaint)

    @classmethod
    def text_id(cls, column: str) -> Self:
        """A text id is not empty."""
        return cls(column, pl.col(column).str.len_bytes() > 0, f"is not a valid {column}")

    @classmethod
    def time(cls, column: str, unit: Unit) -> Self:
        """A time since 1970 in a unit, not in a finer one."""
        long = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}[unit]
        complaint = f"is not a time in {long} since 1970"
        if unit == "s":
            complaint += "; it looks like milliseconds"
        return cls(column, pl.col(column).abs() < LATEST_SECONDS * UNITS[unit], complaint)


def number_rules(schema: Mapping[str, pl.DataType]) -> list[Rule]:
    """That numbers are there in each row.

    Args:
        schema: the types of columns; text may be missing.
    """
    return [Rule.number(name) for name, kind in schema.items() if kind != pl.String]


def all_hold(typed: pl.DataFrame, rules: Sequence[Rule]) -> bool:
    """Whether no rule is broken anywhere.

    Args:
        typed: the values.
        rules: which must hold.
    """
    return all(typed.select(rule.holds.fill_null(False).all()).item() for rule in rules)


def check_columns(
    typed: pl.DataFrame, raw: pl.DataFrame, rules: Sequence[Rule], place: Place
) -> None:
    """Refuse a frame that breaks a rule.

    Args:
        typed: the values.
        raw: the same rows as they were written, for the message.
        rules: which must hold, the first one that does not is named.
        place: where the rows come from.

    Raises:
        DataError: the message names the first such value, its place, and how many there are.
    """
    for rule in rules:
        broken = typed.select(~rule.holds.fill_null(False)).to_series()
        if broken.any():
            row = broken.arg_max()
            assert row is not None
            value = raw[rule.column][row]
            count = int(broken.sum())
            raise DataError(
                f"{place.at(row)}: {place.absent if value is None else repr(value)} "
                f"{rule.complaint} ({count} such {place.unit}{'' if count == 1 else 's'})"
            )


def typed_columns(
    raw: pl.DataFrame,
    types: Mapping[str, pl.DataType],
    rules: Sequence[Rule],
    place: Place,
    *,
    unit: Unit = "s",
    time_format: str | None = None,
) -> pl.DataFrame:
    """Columns that have types already, as the types that are wanted, with every value checked.

    Whole numbers may have been turned into floats, a date or datetime is a time since 1970 (UTC
    where it names no time zone), a category is its text.

    Args:
        raw: columns by our names.
        types: wanted of each; numbers must be there in each row.
        rules: what must hold of the values.
        place: where the rows come from.
        unit: of times.
        time_format: of times that are text; None: ISO 8601.

    Raises:
        DataError: there are no rows, a column cannot be of its type, or a value is wrong.
    """
    if raw.is_empty():
        raise DataError(f"{place.name}: no rows")
    for name, kind in raw.schema.items():
        if not _may_be(kind, types[name], time=name == "timestamp"):
            raise DataError(f"{place.name}: a column has an unsuitable type: {name} is {kind}")
    typed = raw.select(
        _time_of_text(unit, time_format)
        if name == "timestamp" and raw.schema[name] == pl.String
        else _converted(name, raw.schema[name], types[name], unit)
        for name in types
    )
    check_columns(typed, raw, [*number_rules(types), *rules], place)
    return typed


def _may_be(found: pl.DataType, wanted: pl.DataType, *, time: bool) -> bool:
    if found.is_numeric() or found in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return True
    return time and found in (pl.Date, pl.Datetime)


def _converted(name: str, found: pl.DataType, wanted: pl.DataType, unit: Unit) -> pl.Expr:
    column = pl.col(name)
    if found in (pl.Date, pl.Datetime):
        column = column.cast(pl.Datetime("us")).dt.epoch(unit)
    if found in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if wanted == pl.Int64 and (found.is_float() or found.is_decimal()):
        # Ids that a missing value has once turned into floats.
        column = pl.when(column == column.floor()).then(column)
    return column.cast(wanted, strict=False)


def _time_of_text(unit: Unit, time_format: str | None) -> pl.Expr:
    read = (seconds("timestamp", time_format) * UNITS[unit]).cast(pl.Float64)
    number = pl.col("timestamp").cast(pl.Float64, strict=False)
    return read if time_format is not None else pl.coalesce(read, number)


def id_kind(found: pl.DataType) -> pl.DataType:
    """Whether ids in a column that has a type already are numbers or text."""
    return pl.Int64() if found.is_numeric() else pl.String()


# What rows say of the part that they belong to.
PARTS = ("train", "val", "test")


def rating_rules(
    *,
    ids: Mapping[str, pl.DataType],
    others: Collection[str],
    rating_range: tuple[float, float] | None,
    unit: Unit = "s",
    missing: Sequence[float] = (),
) -> list[Rule]:
    """What must hold of ratings, whatever they come from.

    Args:
        ids: the types of the columns `user` and `item`.
        others: which of `rating`, `timestamp`, `part` and `weight` there are.
        rating_range: lowest and highest rating; None: any finite number.
        unit: of the timestamps.
        missing: ratings that mean that there is none, which need not be on the scale.
    """
    rules = [
        Rule.text_id(column) if kind == pl.String else Rule.whole_id(column)
        for column, kind in ids.items()
    ]
    if "rating" in others:
        rules.append(Rule.finite("rating"))
        if rating_range is not None:
            within = Rule.within("rating", *rating_range)
            rules.append(replace(within, holds=within.holds | is_missing(missing)))
    if "timestamp" in others:
        rules += [Rule.finite("timestamp"), Rule.time("timestamp", unit)]
    if "part" in others:
        complaint = f"is not one of {', '.join(PARTS)}"
        rules.append(Rule("part", pl.col("part").is_in(PARTS), complaint))
    if "weight" in others:
        rules.append(Rule.above_zero("weight"))
    return rules


def is_missing(missing: Sequence[float]) -> pl.Expr:
    """Whether the number in the column `rating` means that there is none.

    Args:
        missing: the numbers that do.
    """
    marks = pl.Series(missing, dtype=pl.Float32)
    return pl.col("rating").cast(pl.Float32).is_in(marks.implode())


# Of the columns that are not ids; times may have a fraction.
TYPES: Mapping[str, pl.DataType] = {
    "rating": pl.Float32(),
    "timestamp": pl.Float64(),
    "part": pl.String(),
    "weight": pl.Float32(),
}


# Date, then time, fraction and zone where there are any; a blank for the T is as usual.
ISO_8601 = (
    r"^\s*(?<year>\d{4})-(?<month>\d{1,2})-(?<day>\d{1,2})"
    r"(?:[Tt ]\s*(?<hour>\d{1,2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:[.,]\d+)?)?"
    r"\s*(?:[Zz]|UTC|(?<sign>[+-])(?<zone_hour>\d{2}):?(?<zone_minute>\d{2})?)?)?\s*$"
)
# What people write beside ISO 8601, as far as a first value may show it.
_DAYS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%m-%d-%Y", "%d-%m-%Y", "%Y.%m.%d"),
    *("%m/%d/%y", "%d/%m/%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *("%m %d, %Y", "%Y%m%d"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
USUAL_FORMATS = (
    *(day + time for day in _DAYS for time in _TIMES),
    *("%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %z"),
)


def seconds(column: str, written: str | None) -> pl.Expr:
    """Seconds since 1970 of a column of text.

    Args:
        column: its name.
        written: its format, as of `strftime`; None: ISO 8601, a date or a date and a time.

    Returns:
        Int64; UTC where no zone is named, fractions left out; null where the text is no such time.
    """
    text = pl.col(column)
    if written is not None:
        return text.str.strip_chars().str.to_datetime(written, strict=False).dt.epoch("s")
    parts = text.str.extract_groups(ISO_8601).struct
    day = [parts.field(name).str.zfill(2) for name in ("year", "month", "day")]
    time = [parts.field(name).fill_null("0").str.zfill(2) for name in ("hour", "minute", "second")]
    moment = pl.concat_str(*day, *time, separator=" ").str.to_datetime(
        "%Y %m %d %H %M %S", strict=False
    )
    east = sum(
        (
            parts.field(name).cast(pl.Int64).fill_null(0) * length
            for name, length in (("zone_hour", 3600), ("zone_minute", 60))
        ),
        pl.lit(0),
    )
    sign = pl.when(parts.field("sign") == "-").then(-1).otherwise(1)
    return (moment.dt.epoch("s") - sign * east).alias(column)


def fitting_formats(values: Sequence[str]) -> list[str]:
    """The usual formats that all of some times may be written in.

    Args:
        values: texts, some of them.
    """
    frame = pl.DataFrame({"time": [each for each in values if each]}, schema={"time": pl.String})
    if frame.is_empty():
        return []
    found = frame.select(
        seconds("time", written).is_not_null().all().alias(written) for written in USUAL_FORMATS
    ).row(0, named=True)
    return [written for written, fits in found.items() if fits]

"""What must hold of each value in a column, and how to say where it does not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import polars as pl

from lightning_collab.errors import DataError

# The year 5138: a larger number is milliseconds or something finer.
LATEST_SECONDS = 10**11


@dataclass(frozen=True)
class Rule:
    """Something that each value of a column must fulfil.

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
    def seconds(cls, column: str) -> Self:
        """Seconds since 1970, not something finer."""
        complaint = "is not a time in seconds since 1970; it looks like milliseconds"
        return cls(column, pl.col(column).abs() < LATEST_SECONDS, complaint)


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
    typed: pl.DataFrame, raw: pl.DataFrame, rules: Sequence[Rule], where: Callable[[int], str]
) -> None:
    """Refuse a frame that breaks a rule.

    Args:
        typed: the values.
        raw: the same rows as they were written, for the message.
        rules: which must hold, the first one that does not is named.
        where: from a row number to file and line.

    Raises:
        DataError: the message names the first such value, its place, and how many there are.
    """
    for rule in rules:
        broken = typed.select(~rule.holds.fill_null(False)).to_series()
        if broken.any():
            row = broken.arg_max()
            assert row is not None
            value = raw[rule.column][row]
            raise DataError(
                f"{where(row)}: {('' if value is None else value)!r} {rule.complaint} "
                f"({int(broken.sum())} such lines)"
            )


def rating_rules(
    *, ids: dict[str, pl.DataType], rating_range: tuple[float, float] | None, timestamp: bool
) -> list[Rule]:
    """What must hold of ratings, whatever they come from.

    Args:
        ids: the types of the columns `user` and `item`.
        rating_range: lowest and highest rating; None: any finite number.
        timestamp: whether there is such a column.
    """
    rules = [
        Rule.text_id(column) if kind == pl.String else Rule.whole_id(column)
        for column, kind in ids.items()
    ]
    rules.append(Rule.finite("rating"))
    if rating_range is not None:
        rules.append(Rule.within("rating", *rating_range))
    if timestamp:
        rules.append(Rule.seconds("timestamp"))
    return rules

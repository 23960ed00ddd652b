"""Frames of several libraries as polars; pandas and pyarrow are recognized, and never imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Self

import numpy as np
import polars as pl

from lightning_collab.data.files.text_columns import READ_ERRORS
from lightning_collab.errors import DataError

WANTED = "a polars DataFrame or LazyFrame, a pandas DataFrame or a pyarrow Table"
NO_TIME = np.datetime64("NaT")
# What polars says of values that it cannot make a column of.
MIXED = (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError)


@dataclass(frozen=True, eq=False)
class OpenFrame:
    """A frame of any library that has been recognized, and is not read yet.

    Attributes:
        title: as messages name it.
        frame: of polars or of pandas.
        labels: of its columns, as the library has them.
    """

    title: str
    frame: Any
    labels: Sequence[Any]

    @classmethod
    def of(cls, frame: Any, title: str) -> Self:
        """Look what a frame is of.

        Args:
            frame: of polars, of pandas, or with Arrow's `__arrow_c_stream__`; left as it is.
            title: as the attribute.

        Raises:
            DataError: it is no frame.
        """
        opened: Any = _opened(frame, title)
        if isinstance(opened, pl.DataFrame | pl.LazyFrame):
            return cls(title, opened, opened.collect_schema().names())
        return cls(title, opened, list(opened.columns))

    @property
    def names(self) -> list[str]:
        """Of its columns, as text."""
        return [str(label) for label in self.labels]

    def read(self, chosen: Mapping[str, str] | None = None) -> pl.DataFrame:
        """Columns in the order of the rows.

        Args:
            chosen: our name of each column that is wanted -> its own; None: all under their own.

        Returns:
            Missing values (also NaN of pandas) are null. Types are those of the frame.

        Raises:
            DataError: it lacks a column, or has values of no common type in one.
        """
        title, names = self.title, self.names
        if chosen is None:
            chosen = {name: name for name in names}
        for ours, theirs in chosen.items():
            if theirs not in names:
                raise DataError(
                    f'{title}: no column {theirs!r} ({ours}="{theirs}"); it has '
                    f"{', '.join(map(repr, names)) or 'no columns'}"
                )
            if names.count(theirs) > 1:
                raise DataError(
                    f"{title}: the column {theirs!r} is there {names.count(theirs)} times"
                )
        if not isinstance(self.frame, pl.DataFrame | pl.LazyFrame):
            return pl.DataFrame(
                [
                    _of_pandas(self.frame[self.labels[names.index(theirs)]], title).alias(ours)
                    for ours, theirs in chosen.items()
                ]
            )
        try:
            columns = [pl.col(theirs).alias(ours) for ours, theirs in chosen.items()]
            return self.frame.lazy().select(columns).collect()
        except READ_ERRORS as error:
            raise DataError(f"{title} cannot be computed: {_first_line(error)}") from error


def read_frame(frame: Any, title: str, chosen: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Columns of a frame in the order of its rows, whatever library it is of.

    Args:
        frame: as of `OpenFrame.of`.
        title: of the frame, as messages name it.
        chosen: as of `OpenFrame.read`.

    Raises:
        DataError: it is no frame, lacks a column, or has values of no common type in one.
    """
    return OpenFrame.of(frame, title).read(chosen)


def _opened(frame: Any, title: str) -> Any:
    """A frame of polars or of pandas."""
    if isinstance(frame, pl.DataFrame | pl.LazyFrame) or _is_of_pandas(frame):
        return frame
    if hasattr(frame, "__arrow_c_stream__") and not isinstance(frame, pl.Series):
        try:
            return pl.DataFrame(frame)
        except MIXED as error:
            raise DataError(f"{title} cannot be read: {_first_line(error)}") from error
    if isinstance(frame, str | PathLike):
        raise DataError(
            f"{str(frame)!r} is a path, and {title} must be {WANTED}; "
            "RatingDataModule.from_file reads files"
        )
    raise DataError(
        f"{title} must be {WANTED}, not a {type(frame).__module__}.{type(frame).__qualname__}; "
        "polars.DataFrame(...) makes one of plain values"
    )


def _is_of_pandas(frame: Any) -> bool:
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas"
        for kind in type(frame).__mro__
    )


def _of_pandas(column: Any, title: str) -> pl.Series:
    """A column of any of pandas' types: numpy's, nullable, Arrow's, categories, objects."""
    missing = column.isna().to_numpy()
    kind = getattr(column.dtype, "kind", "O")
    try:
        if kind in "iufb":
            return _numbers(column, missing, kind)
        if kind == "M":
            if getattr(column.dt, "tz", None) is not None:
                column = column.dt.tz_convert("UTC").dt.tz_localize(None)
            return pl.Series(column.to_numpy(dtype="datetime64[us]", na_value=NO_TIME))
        values = column.astype(object).to_numpy()
        plain = [None if absent else each for each, absent in zip(values, missing, strict=True)]
        if {type(each) for each in plain if each is not None} == {int, float}:
            plain = [None if each is None else float(each) for each in plain]
        return pl.Series(plain)
    except MIXED as error:
        raise DataError(
            f"{title}: the values of column {str(column.name)!r} have no single type that can be "
            f"read ({_first_line(error)}); make them one, such as "
            f"frame[{str(column.name)!r}].astype('string')"
        ) from error


def _numbers(column: Any, missing: np.ndarray, kind: str) -> pl.Series:
    if not missing.any():
        return pl.Series(column.to_numpy())
    values = pl.Series(column.fillna(0 if kind != "b" else False).to_numpy())
    if kind == "f" and (values == values.floor()).all():
        # Whole numbers, of which the missing ones have made floats.
        values = values.cast(pl.Int64, strict=False)
    return values.set(pl.Series(missing), None)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

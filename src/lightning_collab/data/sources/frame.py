"""Your own ratings in a frame of polars, pandas or Arrow, with every check that files get.

pandas and pyarrow are recognized, and never imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Self

import numpy as np
import polars as pl

from lightning_collab.config.columns import AUTO, FrameColumnsConfig
from lightning_collab.config.data import FrameConfig
from lightning_collab.data.checked_table import Caller, checked_table, kept_rows, rated_at_least
from lightning_collab.data.column_names import advice_on_found, found_columns, log_taken
from lightning_collab.data.column_rules import (
    TYPES,
    Place,
    id_kind,
    is_missing,
    rating_rules,
    typed_columns,
)
from lightning_collab.data.files.text_columns import READ_ERRORS
from lightning_collab.data.rating_table import RatingTable, fingerprint, with_one_rating_each
from lightning_collab.data.sources.metadata_file import side_table
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


TITLE = "the frame"
SIDE_TITLES = {"user": "the frame of users", "item": "the frame of items"}


def checked_frame(
    frame: Any, config: FrameConfig, *, users: Any = None, items: Any = None
) -> tuple[RatingTable, FrameConfig]:
    """The table of a frame, and the config by which the same frame is known again.

    Args:
        frame: polars DataFrame or LazyFrame, pandas DataFrame or pyarrow Table; a row a rating.
            Users and items are integers (floats that are whole are, too) or text (categories are).
            Ratings are finite numbers, weights are above 0, too. Times are seconds since 1970,
            dates or datetimes, which are UTC where they name no time zone.
        config: which columns are what. Where it has a fingerprint, as in a run's config.yaml,
            it must be that of this frame.
        users: frame with a row for each user: the id under the same name as in `frame` (or
            `user`), and any other columns; None: there is none.
        items: likewise for items; `title`, `year` and `genres` are understood.

    Returns:
        The table, and the config with the columns that were taken, `rows` and `fingerprint`.

    Raises:
        DataError: it is no frame, a column is missing or of a wrong type, a value is wrong (with
            the number of its row, counted from 0), ratings are not of several users or on no
            scale, an item is rated twice by one user, or it is not the frame that the config is of.
    """
    opened = OpenFrame.of(frame, TITLE)
    columns = _columns(opened, config)
    try:
        table = _checked(opened, columns, config, users, items)
    except DataError as error:
        raise DataError(f"{error}{_advice(str(error), columns, config)}") from error
    taken: dict[str, Any] = dict.fromkeys(FrameColumnsConfig.model_fields)
    known = config.model_copy(
        update={
            "columns": FrameColumnsConfig(**(taken | columns)),
            "rows": len(table),
            "fingerprint": fingerprint(table),
            "users": users is not None,
            "items": items is not None,
        }
    )
    if config.fingerprint is not None:
        _check_same(known, config)
    advice = Caller.PYTHON.advice("duplicates", "last", "mean")
    table = rated_at_least(table, config.min_rating, Caller.PYTHON)
    table = with_one_rating_each(table, config.duplicates, advice)
    return kept_rows(table, config, Caller.PYTHON), known


def _columns(frame: OpenFrame, config: FrameConfig) -> dict[str, str]:
    """Our name of each column that is taken -> its own."""
    found = found_columns(dict(config.columns), frame.names, TITLE, Caller.PYTHON)
    columns = {ours: str(theirs) for ours, theirs in found.items()}
    if AUTO in dict(config.columns).values():
        log_taken(TITLE, columns)
    return columns


def only_in_python(config: FrameConfig) -> DataError:
    """What to say where ratings are wanted that only a program can pass.

    Args:
        config: the `data` section of a run.
    """
    columns = ", ".join(name for _, name in config.columns if name is not None)
    rows = "" if config.rows is None else f" of {config.rows:,} rows"
    return DataError(
        f"data=frame: the run was trained in Python, on a frame{rows} with the columns {columns}, "
        "which no config can hold; pass that frame in Python: "
        "lightning_collab.load(<run directory>).evaluate(frame); report(frame) and resume(frame) "
        "work the same way"
    )


def _checked(
    frame: OpenFrame, columns: Mapping[str, str], config: FrameConfig, users: Any, items: Any
) -> RatingTable:
    raw = frame.read(columns)
    ids = {side: id_kind(raw.schema[side]) for side in ("user", "item")}
    rules = rating_rules(
        ids=ids, others=columns, rating_range=config.rating_range, missing=config.missing
    )
    types = {ours: ids.get(ours) or TYPES[ours] for ours in columns}
    typed = typed_columns(raw, types, rules, Place.frame(TITLE))
    if config.missing:
        typed = typed.filter(~is_missing(config.missing))
        if typed.is_empty():
            raise DataError(f"{TITLE}: no row has a rating other than those that mean none")
    if "timestamp" in columns:
        typed = typed.with_columns(pl.col("timestamp").floor().cast(pl.Int64))
    sides = {"user": users, "item": items}
    features = {side: _side(each, side, columns[side], ids[side]) for side, each in sides.items()}
    return checked_table(
        typed,
        name=TITLE,
        title=TITLE,
        caller=Caller.PYTHON,
        rating_range=config.rating_range,
        user_features=features["user"],
        item_features=features["item"],
    )


def _side(frame: Any, side: str, name: str, kind: pl.DataType) -> pl.DataFrame | None:
    if frame is None:
        return None
    title = SIDE_TITLES[side]
    return side_table(read_frame(frame, title), (name, side), side, kind, Place.frame(title))


def _advice(message: str, columns: Mapping[str, str], config: FrameConfig) -> str:
    """What may help that the caller can do."""
    if "looks like milliseconds" in message:
        return (
            f". If they are, divide the column {columns['timestamp']!r} by 1000 "
            "or make it one of datetimes"
        )
    return advice_on_found(message, dict(config.columns), Caller.PYTHON)


def _check_same(found: FrameConfig, trained: FrameConfig) -> None:
    """Refuse a frame that is not the one that a run was trained on."""
    for side in ("users", "items"):
        if getattr(trained, side) != getattr(found, side):
            what = "with" if getattr(trained, side) else "without"
            raise DataError(f"the run was trained {what} a frame of {side} ({side}=)")
    if found.rows != trained.rows:
        raise DataError(
            f"the run was trained on another frame: it had {trained.rows:,} rows, and this one "
            f"has {found.rows:,}"
        )
    if found.fingerprint != trained.fingerprint:
        raise DataError(
            "the run was trained on another frame: values, or the order of rows, differ from those "
            f"of the {trained.rows:,} rows that it had"
        )

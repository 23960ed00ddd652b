"""One file of ratings, of whatever kind: its columns typed, with every value checked."""

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lightning_collab.config.columns import AUTO
from lightning_collab.config.data import CustomFileConfig
from lightning_collab.data.checked_table import Caller
from lightning_collab.data.column_rules import (
    TYPES,
    UNITS,
    Rule,
    fitting_formats,
    id_kind,
    is_missing,
    rating_rules,
    seconds,
)
from lightning_collab.data.files.kinds import (
    HEAD,
    PlainText,
    check_file,
    is_json_lines,
    is_parquet,
    plain_text,
)
from lightning_collab.data.files.tables import (
    json_columns,
    parquet_names,
    read_json_lines,
    read_parquet_columns,
)
from lightning_collab.data.files.text_columns import column_names, has_leading_zeros, read_opened
from lightning_collab.data.files.text_format import OpenText, TextSettings, found_format
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

# An integer as a program writes it: 007 and +7 are text, which would be lost in a number.
INTEGER = r"^\s*-?(0|[1-9]\d{0,18})\s*$"
# March 1973: earlier times in ms or us are likelier seconds.
EARLIEST_LIKELY = 10**8


@dataclass(frozen=True, eq=False)
class OpenFile:
    """A file that has been looked at.

    Attributes:
        path: of the file that was named.
        names: of its columns.
        text: where it is delimited text.
        json: where it is JSON lines: the text, and all that it says.
        rows: of Parquet, which are read: the first and how many; None: all.
        is_part: whether `text` and `json` are a part of the file, which may have no rating at all.
    """

    path: Path
    names: Sequence[str]
    text: OpenText | None = None
    json: tuple[PlainText, pl.DataFrame] | None = None
    rows: tuple[int, int] | None = None
    is_part: bool = False

    @property
    def has_names(self) -> bool:
        """Whether its columns have names of its own."""
        return self.text is None or self.text.format.has_header


def open_file(path: Path, config: CustomFileConfig, stack: ExitStack) -> OpenFile:
    """Look at a file: of what kind it is, how it is written, and which columns it has.

    Args:
        path: of the file.
        config: the `data` section.
        stack: closes it.

    Raises:
        DataError: it is missing, empty, or of a kind that is not read.
    """
    check_file(path)
    if is_parquet(path, config.format):
        return OpenFile(path, parquet_names(path))
    plain = stack.enter_context(plain_text(path, config.encoding))
    with plain.path.open("rb") as file:
        head = file.read(HEAD)
    if is_json_lines(head, config.format):
        frame = read_json_lines(plain)
        return OpenFile(path, frame.columns, json=(plain, frame))
    return open_text_file(path, plain, config)


def open_text_file(path: Path, plain: PlainText, config: CustomFileConfig) -> OpenFile:
    """Look at delimited text.

    Args:
        path: of the file that was named.
        plain: its text.
        config: the `data` section.

    Raises:
        DataError: it is of a kind that is not read.
    """
    asked = dict(config.columns).values()
    settings = TextSettings(
        config.delimiter,
        config.header,
        config.encoding,
        config.quote,
        config.decimal,
        tuple(each for each in asked if isinstance(each, str) and each != AUTO),
    )
    text = found_format(plain, settings)
    log.info("%s: taken as %s", path, text.taken)
    return OpenFile(path, column_names(text.path, text.format, path), text)


def read_file(
    opened: OpenFile, columns: Mapping[str, str], config: CustomFileConfig, caller: Caller
) -> pl.DataFrame:
    """The columns that are taken, by our names.

    Args:
        opened: the file.
        columns: our name of each -> its name there.
        config: the `data` section.
        caller: in whose words advice is given.

    Returns:
        Ids of text files as they are written (String) unless it is said that they are integers;
        timestamps in seconds since 1970 (Int64). Rows that have no rating are left out.

    Raises:
        DataError: a value does not parse or makes no sense; the message names its line or row.
    """
    kinds: dict[str, pl.DataType] = {side: pl.String() for side in ("user", "item")}
    if opened.text is None:
        schema = (
            pl.scan_parquet(opened.path, glob=False).collect_schema()
            if opened.json is None
            else opened.json[1].schema
        )
        kinds = {side: id_kind(schema[columns[side]]) for side in kinds}
    elif config.ids == "auto":
        places = [opened.names.index(columns[side]) for side in kinds]
        if _look_like_integers(opened.text, places):
            # Reading numbers is faster, and tells that all are.
            whole: dict[str, pl.DataType] = dict.fromkeys(kinds, pl.Int64())
            with suppress(DataError):
                return _typed(opened, columns, whole, config, caller)
    if config.ids != "auto":
        said = pl.Int64() if config.ids == "integer" else pl.String()
        kinds = dict.fromkeys(kinds, said)
    return _typed(opened, columns, kinds, config, caller)


def _look_like_integers(text: OpenText, places: Sequence[int]) -> bool:
    """Whether the first ids are integers, and no value of the file begins as 007 or +7 do."""
    for row in text.sample:
        for place in places:
            if len(row) > place and row[place] and not re.match(INTEGER, row[place]):
                return False
    return not has_leading_zeros(text.path, text.format.separator)


def _typed(
    opened: OpenFile,
    columns: Mapping[str, str],
    kinds: Mapping[str, pl.DataType],
    config: CustomFileConfig,
    caller: Caller,
) -> pl.DataFrame:
    unit = config.timestamp_unit
    types = {ours: kinds.get(ours) or TYPES[ours] for ours in columns}
    rules = rating_rules(
        ids=kinds,
        others=columns,
        rating_range=config.rating_range,
        unit=unit,
        missing=config.missing,
    )
    if opened.text is not None:
        frame = _typed_text(opened.text, opened.names, columns, types, rules, config, caller)
    elif opened.json is not None:
        text, raw = opened.json
        frame = json_columns(
            raw, text, columns, types, rules, unit=unit, time_format=config.timestamp_format
        )
    else:
        frame = read_parquet_columns(
            opened.path,
            columns,
            types,
            rules,
            unit=unit,
            time_format=config.timestamp_format,
            rows=opened.rows,
        )
    if config.missing:
        frame = frame.filter(~is_missing(config.missing))
        if frame.is_empty() and not opened.is_part:
            raise DataError(f"{opened.path}: no row has a rating other than those that mean none")
    if "timestamp" in columns and frame.schema["timestamp"] != pl.Int64:
        times = (pl.col("timestamp") / UNITS[unit]).floor().cast(pl.Int64)
        frame = frame.with_columns(times)
        latest = frame["timestamp"].max()
        if unit != "s" and isinstance(latest, int) and 0 < latest < EARLIEST_LIKELY:
            log.warning(
                "%s: in %s the times end in the year %d; if they are seconds, %s",
                *(opened.path, unit, 1970 + latest // 31_556_952),
                caller.advice("timestamp_unit", "s"),
            )
    return frame


def _typed_text(
    text: OpenText,
    names: Sequence[str],
    columns: Mapping[str, str],
    types: dict[str, pl.DataType],
    rules: list[Rule],
    config: CustomFileConfig,
    caller: Caller,
) -> pl.DataFrame:
    places = [names.index(theirs) for theirs in columns.values()]
    if "timestamp" not in columns:
        return read_opened(text, types, places, rules)
    place = names.index(columns["timestamp"])
    sample = [row[place].strip() for row in text.sample if len(row) > place]
    if config.timestamp_format is None and all(_is_float(each) for each in sample if each):
        return read_opened(text, types, places, rules)
    types["timestamp"] = pl.String()
    read = seconds("timestamp", config.timestamp_format)
    rules = [rule for rule in rules if rule.column != "timestamp"]
    written = config.timestamp_format
    what = "by ISO 8601" if written is None else f"as {written!r} has it"
    fits = [each for each in fitting_formats(sample) if each != written]
    advice = f" ({caller.advice('timestamp_format', *fits)})" if fits else ""
    rules.append(Rule("timestamp", read.is_not_null(), f"is not a valid timestamp {what}{advice}"))
    return read_opened(text, types, places, rules).with_columns(timestamp=read)


def _is_float(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def with_ids(
    opened: OpenFile,
    columns: Mapping[str, str],
    frame: pl.DataFrame,
    kinds: Mapping[str, pl.DataType],
    config: CustomFileConfig,
    caller: Caller,
) -> pl.DataFrame:
    """A frame of `read_file` with ids of the types that the whole table has.

    Args:
        opened: the file.
        columns: as in `read_file`; so are the last two.
        frame: what was read.
        kinds: of the ids of users and of items, Int64 or String.
        config: the `data` section.
        caller: in whose words advice is given.

    Raises:
        DataError: an id is no valid number.
    """
    if all(frame.schema[side] == kind for side, kind in kinds.items()):
        return frame
    typed = frame.with_columns(
        pl.col(side).str.strip_chars().cast(kind, strict=False)
        if kind == pl.Int64 and frame.schema[side] == pl.String
        else pl.col(side).cast(kind)
        for side, kind in kinds.items()
    )
    numbers = [pl.col(side) >= 0 for side, kind in kinds.items() if kind == pl.Int64]
    if numbers and not typed.select(pl.all_horizontal(numbers).fill_null(False).all()).item():
        # Reading them as numbers says which line is wrong.
        return _typed(opened, columns, kinds, config, caller)
    return typed

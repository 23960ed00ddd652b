"""Your own ratings in files: delimited text, JSON lines or Parquet, with the columns you name."""

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.config.columns import AUTO, OPTIONAL, Column
from lightning_collab.config.data import CustomFileConfig
from lightning_collab.data.checked_table import Caller, checked_table, rated_at_least
from lightning_collab.data.column_names import (
    TYPED,
    advice_on_found,
    found_columns,
    like,
    log_taken,
    usual_columns,
)
from lightning_collab.data.files.kinds import part_files
from lightning_collab.data.files.text_format import called, is_number
from lightning_collab.data.rating_table import RatingTable, with_one_rating_each
from lightning_collab.data.sources.metadata_file import read_side_files
from lightning_collab.data.sources.rating_file import (
    INTEGER,
    OpenFile,
    open_file,
    read_file,
    with_ids,
)
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)


def files(config: CustomFileConfig) -> list[Path]:
    """The files that the table is made of.

    Args:
        config: the `data` section.

    Raises:
        DataError: a folder has no parts, or a pattern fits none.
    """
    named = [config.path, config.val_path, config.test_path]
    named += [*config.side_paths("users"), *config.side_paths("items")]
    return [part for path in named if path is not None for part in part_files(Path(path))]


def load(config: CustomFileConfig, caller: Caller = Caller.COMMAND) -> RatingTable:
    """Read the file or files that a config names.

    Args:
        config: the `data` section.
        caller: in whose words advice is given.

    Raises:
        DataError: a file is missing or bad; the message names file, line or count.
    """
    try:
        with ExitStack() as stack:
            return _load(config, caller, stack)
    except DataError as error:
        raise DataError(f"{error}{advice(str(error), config, caller)}") from error


def _load(config: CustomFileConfig, caller: Caller, stack: ExitStack) -> RatingTable:
    paths = {"train": config.path, "val": config.val_path, "test": config.test_path}
    opened = {
        part: [open_file(each, config, stack) for each in part_files(Path(path))]
        for part, path in paths.items()
        if path is not None
    }
    columns = _columns([each for part in opened.values() for each in part], config, caller)
    read = {
        part: [read_file(each, columns[each.path], config, caller) for each in part_of]
        for part, part_of in opened.items()
    }
    kinds = _id_kinds([frame for part_of in read.values() for frame in part_of], config)
    frames = {
        part: pl.concat(
            [
                with_ids(each, columns[each.path], frame, kinds, config, caller)
                for each, frame in zip(opened[part], read[part], strict=True)
            ]
        )
        for part in opened
    }
    own = columns[opened["train"][0].path]
    named = opened["train"][0].has_names
    path = Path(config.path)
    table = checked_table(
        pl.concat(frames.values()),
        name=path.name,
        title=str(path),
        caller=caller,
        rating_range=config.rating_range,
        user_features=read_side_files(config.side_paths("users"), "user", own, kinds, named=named),
        item_features=read_side_files(config.side_paths("items"), "item", own, kinds, named=named),
        parts=_parts_of_files(frames),
    )
    return with_one_rating_each(
        rated_at_least(table, config.min_rating, caller),
        config.duplicates,
        caller.advice("duplicates", "last", "mean"),
    )


def _columns(
    opened: Sequence[OpenFile], config: CustomFileConfig, caller: Caller
) -> dict[Path, dict[str, str]]:
    """Of each file, our name of each column that is taken -> its name there."""
    asked: dict[str, Column | None] = dict(config.columns)
    several = config.val_path or config.test_path
    for ours in OPTIONAL:
        everywhere = all(each.has_names and usual_columns(ours, each.names) for each in opened)
        if asked[ours] == AUTO and ((ours == "part" and several) or not everywhere):
            asked[ours] = None
    columns = {each.path: columns_of(each, asked, caller) for each in opened}
    if AUTO in asked.values():
        log_taken(config.path, columns[opened[0].path])
    return columns


def columns_of(
    opened: OpenFile, asked: Mapping[str, Column | None], caller: Caller
) -> dict[str, str]:
    """Of a file, our name of each column that is taken -> its name there.

    Args:
        opened: the file.
        asked: our name of each column -> its name or position there; None: it is not taken.
        caller: in whose words advice is given.

    Raises:
        DataError: there is no such column.
    """
    path, names = opened.path, opened.names
    hint = _delimiter_hint(opened, caller)
    if not opened.has_names:
        _check_positions(opened, asked, caller, hint)
    columns = {}
    for ours, theirs in found_columns(asked, names, str(path), caller, hint).items():
        column = _named_so(theirs, names)
        if column is None:
            what = f"column {theirs}" if isinstance(theirs, int) else f"column {theirs!r}"
            meant = like(theirs, names) if isinstance(theirs, str) else []
            close = f"; did you mean {' or '.join(map(repr, meant))}?" if meant else ""
            raise DataError(
                f"{path}: no {what} ({caller.key(f'columns.{ours}')}); "
                f"it has {', '.join(map(repr, names))}{close}{hint}"
            )
        columns[ours] = column
    return columns


def _named_so(theirs: Column, names: Sequence[str]) -> str | None:
    """The column of that name, or at that position; RecBole's types may be left out."""
    if isinstance(theirs, int):
        return names[theirs - 1] if theirs <= len(names) else None
    if theirs in names:
        return theirs
    return next((name for name in names if TYPED.sub("", name) == theirs), None)


def _check_positions(
    opened: OpenFile, asked: Mapping[str, Column | None], caller: Caller, hint: str
) -> None:
    """Without names each column that is wanted has to be a position."""
    named = [ours for ours, column in asked.items() if isinstance(column, str)]
    if not named or opened.text is None:
        return
    first = ", ".join(repr(each[:20]) for each in opened.text.first[:8])
    numbers = [n for n, each in enumerate(opened.text.first, 1) if n > 2 and is_number(each)]
    likely = {"user": 1, "item": 2, "rating": next(iter(numbers), 3)}
    places = " ".join(
        caller.setting(f"columns.{ours}", place)
        for ours, place in likely.items()
        if asked[ours] is not None
    )
    raise DataError(
        f"{opened.path}: the first line looks like data and not like names ({first}), so that "
        f"{caller.setting('header', False)} is assumed; give the positions of the columns, "
        f"counted from 1, such as {places}{hint}"
    )


def _delimiter_hint(opened: OpenFile, caller: Caller) -> str:
    if len(opened.names) != 1 or opened.text is None:
        return ""
    mine = opened.text.format.separator
    others = [each for each in ",;\t| " if each != mine and each in opened.names[0].strip()]
    if not others:
        return ""
    other = called(others[0])
    return f". Is the delimiter a {other}? Then {caller.advice('delimiter', other)}"


def _id_kinds(frames: Sequence[pl.DataFrame], config: CustomFileConfig) -> dict[str, pl.DataType]:
    """Whether the ids of users and of items are numbers or text, the same for all files."""
    kinds: dict[str, pl.DataType] = {}
    for side in ("user", "item"):
        whole = config.ids == "integer" or (
            config.ids == "auto" and all(_are_integers(frame[side]) for frame in frames)
        )
        kinds[side] = pl.Int64() if whole else pl.String()
        if config.ids == "auto" and not whole:
            _say_that_ids_are_text(side, frames)
    return kinds


def _say_that_ids_are_text(side: str, frames: Sequence[pl.DataFrame]) -> None:
    """Where most look like integers, as people may be surprised."""
    ids = pl.concat([frame[side].cast(pl.String) for frame in frames])
    whole = ids.str.contains(INTEGER)
    if whole.any():
        other = ids.filter(~whole).first()
        log.info("ids of %ss are taken as text, since there is %r (data.ids)", side, other)


def _are_integers(ids: pl.Series) -> bool:
    if ids.dtype != pl.String:
        return True
    whole = ids.str.contains(INTEGER).all()
    return bool(whole) and not ids.str.strip_chars().cast(pl.Int64, strict=False).has_nulls()


def advice(message: str, config: CustomFileConfig, caller: Caller) -> str:
    """Which setting may help.

    Args:
        message: what went wrong.
        config: the `data` section.
        caller: in whose words.
    """
    if "looks like milliseconds" in message:
        return f". If they are, {caller.advice('timestamp_unit', 'ms')}"
    if "the text is not" in message and config.encoding != "auto":
        return f": {caller.advice('encoding', 'auto')}"
    for side in ("user", "item"):
        if f"'' is not a valid {side}" in message or f"None is not a valid {side}" in message:
            return (
                f". A row without {side} is of no use: remove such rows from the file, or name "
                f"another column with {caller.key(f'columns.{side}')}"
            )
    if config.ids == "integer" and ("valid user" in message or "valid item" in message):
        return f". If ids are text, {caller.advice('ids', 'string')}"
    if "is not a valid rating" in message and config.decimal != "comma":
        found = re.search(r"'-?\d+,\d+' is not a valid rating", message)
        if found:
            return f". If the comma is the decimal sign, {caller.advice('decimal', 'comma')}"
    return advice_on_found(message, dict(config.columns), caller)


def _parts_of_files(frames: Mapping[str, pl.DataFrame]) -> dict[str, NDArray[np.int32]]:
    """The rows of each file, where there are several."""
    if len(frames) == 1:
        return {}
    ends = np.cumsum([len(each) for each in frames.values()])
    return {
        part: np.arange(end - len(each), end, dtype=np.int32)
        for (part, each), end in zip(frames.items(), ends, strict=True)
    }

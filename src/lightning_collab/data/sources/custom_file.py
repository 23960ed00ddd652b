"""Your own ratings: delimited text or Parquet, with the columns that you name."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.config.columns import AUTO, OPTIONAL, Column
from lightning_collab.config.data import CustomFileConfig
from lightning_collab.data.checked_table import Caller, checked_table
from lightning_collab.data.column_names import (
    advice_on_found,
    found_columns,
    log_taken,
    usual_columns,
)
from lightning_collab.data.column_rules import TYPES, UNITS, id_kind, rating_rules
from lightning_collab.data.kept_rows import rated_at_least
from lightning_collab.data.parquet_columns import parquet_names, read_parquet_columns
from lightning_collab.data.rating_table import RatingTable, with_one_rating_each
from lightning_collab.data.sources.metadata_file import read_side_files
from lightning_collab.data.text_columns import (
    READ_ERRORS,
    TextFormat,
    column_names,
    read_text_columns,
)
from lightning_collab.errors import DataError

SAMPLE_ROWS = 1000


def files(config: CustomFileConfig) -> list[Path]:
    """The files that the table is made of.

    Args:
        config: the `data` section.
    """
    named = [config.path, config.val_path, config.test_path]
    named += [*config.side_paths("users"), *config.side_paths("items")]
    return [Path(path) for path in named if path is not None]


def load(config: CustomFileConfig, caller: Caller = Caller.COMMAND) -> RatingTable:
    """Read the file or files that a config names.

    Args:
        config: the `data` section.
        caller: in whose words advice is given.

    Raises:
        DataError: a file is missing or bad; the message names file, line or count.
    """
    try:
        return _load(config, caller)
    except DataError as error:
        raise DataError(f"{error}{_advice(str(error), config, caller)}") from error


def _load(config: CustomFileConfig, caller: Caller) -> RatingTable:
    paths = {"train": config.path, "val": config.val_path, "test": config.test_path}
    named = {part: Path(path) for part, path in paths.items() if path is not None}
    columns = _columns(named, config, caller)
    kinds = _id_kinds(named, columns, config)
    frames = {part: _read(path, columns[part], config, kinds) for part, path in named.items()}
    path, own = Path(config.path), columns["train"]
    table = checked_table(
        pl.concat(frames.values()) if len(frames) > 1 else frames["train"],
        name=path.name,
        title=str(path),
        caller=caller,
        rating_range=config.rating_range,
        user_features=read_side_files(config.side_paths("users"), config, "user", own, kinds),
        item_features=read_side_files(config.side_paths("items"), config, "item", own, kinds),
        parts=_parts_of_files(frames),
    )
    return with_one_rating_each(
        rated_at_least(table, config.min_rating, caller),
        config.duplicates,
        caller.advice("duplicates", "last", "mean"),
    )


def is_parquet(path: Path, config: CustomFileConfig) -> bool:
    """Whether a file is Parquet, by what is said or by its name."""
    if config.format is not None:
        return config.format == "parquet"
    return path.suffix.lower() in (".parquet", ".pq")


def _text_format(config: CustomFileConfig) -> TextFormat:
    return TextFormat(config.delimiter, config.header, config.encoding, quote_char='"')


def _names(path: Path, config: CustomFileConfig) -> list[str]:
    if is_parquet(path, config):
        return parquet_names(path)
    return column_names(path, _text_format(config))


def _columns(
    paths: Mapping[str, Path], config: CustomFileConfig, caller: Caller
) -> dict[str, dict[str, str]]:
    """Of the file of each part, our name of each column that is taken -> its name there."""
    names = {part: _names(path, config) for part, path in paths.items()}
    asked: dict[str, Column | None] = dict(config.columns)
    for ours in OPTIONAL:
        everywhere = config.header and all(usual_columns(ours, each) for each in names.values())
        said_by_files = ours == "part" and len(paths) > 1
        if asked[ours] == AUTO and (said_by_files or not everywhere):
            asked[ours] = None
    columns = {
        part: _columns_of(path, names[part], asked, config, caller) for part, path in paths.items()
    }
    if AUTO in asked.values():
        log_taken(config.path, columns["train"])
    return columns


def _columns_of(
    path: Path,
    names: list[str],
    asked: Mapping[str, Column | None],
    config: CustomFileConfig,
    caller: Caller,
) -> dict[str, str]:
    hint = _delimiter_hint(names, config, caller)
    columns = {}
    for ours, theirs in found_columns(asked, names, str(path), caller, hint).items():
        if isinstance(theirs, int) and theirs <= len(names):
            columns[ours] = names[theirs - 1]
        elif isinstance(theirs, str) and theirs in names:
            columns[ours] = theirs
        else:
            what = f"column {theirs}" if isinstance(theirs, int) else f"column {theirs!r}"
            raise DataError(
                f"{path}: no {what} ({caller.key(f'columns.{ours}')}); "
                f"it has {', '.join(map(repr, names))}{hint}"
            )
    return columns


def _delimiter_hint(names: list[str], config: CustomFileConfig, caller: Caller) -> str:
    if len(names) != 1:
        return ""
    others = [each for each in ",;\t|" if each != config.delimiter and each in names[0]]
    if not others:
        return ""
    return f". Is the delimiter {others[0]!r}? Then {caller.advice('delimiter', others[0])}"


def _id_kinds(
    paths: Mapping[str, Path], columns: Mapping[str, Mapping[str, str]], config: CustomFileConfig
) -> dict[str, pl.DataType]:
    """Whether the ids of users and of items are numbers or text, the same for all files."""
    kinds: dict[str, pl.DataType] = {}
    for side in ("user", "item"):
        whole = config.ids == "integer" or (
            config.ids == "auto"
            and all(
                _begins_with_integers(path, columns[part][side], config)
                for part, path in paths.items()
            )
        )
        kinds[side] = pl.Int64() if whole else pl.String()
    return kinds


def _begins_with_integers(path: Path, name: str, config: CustomFileConfig) -> bool:
    if is_parquet(path, config):
        return id_kind(pl.scan_parquet(path).collect_schema()[name]) == pl.Int64
    try:
        sample = pl.read_csv(
            path,
            separator=config.delimiter,
            has_header=config.header,
            encoding=config.encoding,
            infer_schema=False,
            n_rows=SAMPLE_ROWS,
        )[name].drop_nulls()
    except READ_ERRORS:
        # Reading it in earnest says what is wrong.
        return False
    # Text such as 007 would lose its zeros as a number.
    return bool(sample.str.contains(r"^\s*-?(0|[1-9]\d*)\s*$").all())


def _read(
    path: Path,
    columns: Mapping[str, str],
    config: CustomFileConfig,
    kinds: Mapping[str, pl.DataType],
) -> pl.DataFrame:
    """The columns that are taken, by our names."""
    unit = config.timestamp_unit
    rules = rating_rules(ids=kinds, others=columns, rating_range=config.rating_range, unit=unit)
    types = {ours: kinds.get(ours) or TYPES[ours] for ours in columns}
    if is_parquet(path, config):
        frame = read_parquet_columns(path, columns, types, rules, unit=unit)
    else:
        names = _names(path, config)
        places = [names.index(theirs) for theirs in columns.values()]
        text = _text_format(config)
        frame = read_text_columns(path, types, text, positions=places, rules=rules)
    if "timestamp" not in columns:
        return frame
    return frame.with_columns((pl.col("timestamp") / UNITS[unit]).floor().cast(pl.Int64))


def _advice(message: str, config: CustomFileConfig, caller: Caller) -> str:
    """Which setting may help."""
    if "looks like milliseconds" in message:
        return f". If they are, {caller.advice('timestamp_unit', 'ms')}"
    if "not utf8" in message:
        return f": {caller.advice('encoding', 'latin-1')}"
    guessed = config.ids == "auto" and not is_parquet(Path(config.path), config)
    if guessed and ("valid user" in message or "valid item" in message):
        return (
            f" (the first {SAMPLE_ROWS} ids are integers; if some are text, "
            f"{caller.advice('ids', 'string')})"
        )
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

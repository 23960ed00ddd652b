"""Your own ratings: delimited text or Parquet, with the columns that you name."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from lightning_collab.config.data import CustomFileConfig
from lightning_collab.data.column_rules import Rule, rating_rules
from lightning_collab.data.parquet_columns import parquet_names, read_parquet_columns
from lightning_collab.data.rating_table import RatingTable, with_one_rating_each
from lightning_collab.data.sources.metadata_file import read_side_file
from lightning_collab.data.text_columns import (
    READ_ERRORS,
    TextFormat,
    column_names,
    read_text_columns,
)
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

SAMPLE_ROWS = 1000
PARTS = ("train", "val", "test")
UNITS = {"s": 1, "ms": 1000, "us": 1_000_000}


def files(config: CustomFileConfig) -> list[Path]:
    """The files that the table is made of.

    Args:
        config: the `data` section.
    """
    named = (config.path, config.val_path, config.test_path, config.users_path, config.items_path)
    return [Path(path) for path in named if path is not None]


def load(config: CustomFileConfig) -> RatingTable:
    """Read the file or files that a config names.

    Args:
        config: the `data` section.

    Raises:
        DataError: a file is missing or bad; the message names file, line or count.
    """
    try:
        return _load(config)
    except DataError as error:
        raise DataError(f"{error}{_advice(str(error), config)}") from error


def _load(config: CustomFileConfig) -> RatingTable:
    paths = {"train": config.path, "val": config.val_path, "test": config.test_path}
    named = {part: Path(path) for part, path in paths.items() if path is not None}
    kinds = _id_kinds(list(named.values()), config)
    frames = {part: _read(path, config, kinds) for part, path in named.items()}
    frame = pl.concat(frames.values()) if len(frames) > 1 else frames["train"]
    path = Path(config.path)
    table = RatingTable.from_frame(
        frame,
        name=path.name,
        user_features=read_side_file(config.users_path, config, "user", kinds["user"]),
        item_features=read_side_file(config.items_path, config, "item", kinds["item"]),
        rating_range=config.rating_range or _found_range(frame, path),
        parts=_parts(frames, frame, config),
    )
    if len(table.user_vocabulary) <= 2:
        raise DataError(
            f"{path}: all {len(table)} ratings are of one user; learning from ratings needs "
            "several (is data.columns.user the right column?)"
        )
    return with_one_rating_each(table, config.duplicates, "data.duplicates")


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


def _positions(path: Path, config: CustomFileConfig) -> dict[str, int]:
    """Our name of each column that is named -> where it stands in the file, counted from 0."""
    names = _names(path, config)
    positions = {}
    for ours, theirs in config.columns:
        if theirs is None:
            continue
        if isinstance(theirs, int) and theirs <= len(names):
            positions[ours] = theirs - 1
        elif isinstance(theirs, str) and theirs in names:
            positions[ours] = names.index(theirs)
        else:
            what = f"column {theirs}" if isinstance(theirs, int) else f"column {theirs!r}"
            raise DataError(
                f"{path}: no {what} (data.columns.{ours}); it has {', '.join(map(repr, names))}"
                f"{_delimiter_hint(names, config)}"
            )
    return positions


def _delimiter_hint(names: list[str], config: CustomFileConfig) -> str:
    others = [each for each in ",;\t|" if each != config.delimiter and each in names[0]]
    if len(names) > 1 or not others:
        return ""
    return f". Is the delimiter {others[0]!r}? Then set 'data.delimiter=\"{others[0]}\"'"


def _id_kinds(paths: list[Path], config: CustomFileConfig) -> dict[str, pl.DataType]:
    """Whether the ids of users and of items are numbers or text, the same for all files."""
    kinds: dict[str, pl.DataType] = {}
    for side in ("user", "item"):
        whole = config.ids == "integer" or (
            config.ids == "auto"
            and all(_begins_with_integers(path, config, side) for path in paths)
        )
        kinds[side] = pl.Int64() if whole else pl.String()
    return kinds


def _begins_with_integers(path: Path, config: CustomFileConfig, side: str) -> bool:
    position = _positions(path, config)[side]
    name = _names(path, config)[position]
    if is_parquet(path, config):
        return bool(pl.scan_parquet(path).collect_schema()[name].is_numeric())
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


def _read(path: Path, config: CustomFileConfig, kinds: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Columns `user`, `item`, `rating` and, where they are named, `timestamp` and `part`."""
    timed = config.columns.timestamp is not None
    # A rule of seconds is of times that are in seconds already.
    in_seconds = timed and config.timestamp_unit == "s"
    rules = rating_rules(ids=dict(kinds), rating_range=config.rating_range, timestamp=in_seconds)
    if config.columns.part is not None:
        rules.append(Rule("part", pl.col("part").is_in(PARTS), f"is not one of {', '.join(PARTS)}"))
    positions = _positions(path, config)
    # Times may have a fraction.
    known: dict[str, pl.DataType] = {**kinds, "rating": pl.Float32(), "timestamp": pl.Float64()}
    types = {ours: known.get(ours, pl.String()) for ours in positions}
    if is_parquet(path, config):
        names = parquet_names(path)
        chosen = {ours: names[position] for ours, position in positions.items()}
        frame = read_parquet_columns(path, chosen, types, rules)
    else:
        places = list(positions.values())
        text = _text_format(config)
        frame = read_text_columns(path, types, text, positions=places, rules=rules)
    if not timed:
        return frame
    unit = UNITS[config.timestamp_unit]
    return frame.with_columns((pl.col("timestamp") / unit).floor().cast(pl.Int64))


def _advice(message: str, config: CustomFileConfig) -> str:
    """Which key of the config may help."""
    if "milliseconds" in message:
        return ". If they are, set data.timestamp_unit=ms"
    if "not utf8" in message:
        return ": set data.encoding=latin-1"
    if config.ids == "auto" and ("valid user" in message or "valid item" in message):
        return f" (the first {SAMPLE_ROWS} ids are integers; if some are text, set data.ids=string)"
    return ""


def _found_range(frame: pl.DataFrame, path: Path) -> tuple[float, float]:
    low, high = frame.select(pl.col("rating").min(), high=pl.col("rating").max()).row(0)
    if low == high:
        raise DataError(
            f"{path}: every rating is {low:g}, which is no scale; name it, such as "
            "data.rating_range=[1,5]"
        )
    log.info("%s: ratings from %g to %g taken as the scale (data.rating_range)", path, low, high)
    return float(low), float(high)


def _parts(
    frames: Mapping[str, pl.DataFrame], frame: pl.DataFrame, config: CustomFileConfig
) -> dict[str, np.ndarray]:
    if "part" in frame.columns:
        named = frame["part"].to_numpy()
        return {
            part: np.flatnonzero(named == part).astype(np.int32)
            for part in PARTS
            if (named == part).any()
        }
    if len(frames) == 1:
        return {}
    ends = np.cumsum([len(each) for each in frames.values()])
    return {
        part: np.arange(end - len(each), end, dtype=np.int32)
        for (part, each), end in zip(frames.items(), ends, strict=True)
    }

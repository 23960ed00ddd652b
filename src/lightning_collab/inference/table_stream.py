"""Tables too long for memory, read and written some rows at a time, whole or not at all."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from queue import Full, Queue
from typing import IO, Any

import polars as pl
from polars.io.plugins import register_io_source

from lightning_collab.data.column_names import usual_columns
from lightning_collab.data.files.kinds import check_file, is_parquet
from lightning_collab.data.files.text_columns import READ_ERRORS
from lightning_collab.data.files.text_format import TextSettings, called, open_text
from lightning_collab.errors import ConfigError, DataError, StorageError
from lightning_collab.runs.files import atomic_file
from lightning_collab.runs.text import without_formulas

SUFFIXES = (".csv", ".parquet")
# Frames that wait to be written.
QUEUED = 2
# Of Parquet: what a reader must have in memory at a time.
ROWS_OF_A_GROUP = 1 << 18


def check_output(path: Path, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuse a place for a table before the work on it begins.

    Args:
        path: where it shall go.
        overwrite: whether a file that is there may be replaced.
        inputs: files that it is made from.

    Raises:
        ConfigError: the name does not say the format, the file already exists or is an input, or
            its folder is not there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"output: {path} must end with {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise ConfigError(f"output: {path} is a folder; name a file in it")
    if any(path.resolve() == each.resolve() for each in inputs):
        raise ConfigError(f"output: {path} is the input itself; name another file")
    if path.exists() and not overwrite:
        raise ConfigError(
            f"output: {path} already exists; set overwrite=true to replace it, or another name"
        )
    if not path.parent.is_dir():
        raise ConfigError(f"output: there is no folder {path.parent}")


def write_stream(path: Path, frames: Iterator[pl.DataFrame], schema: Mapping[str, Any]) -> None:
    """Write tables one after the other into one file, which is there when all of it is.

    In CSV, lists of text are joined by `|` and text that a spreadsheet would run is made harmless
    (see `without_formulas`); Parquet has everything as it is.

    Args:
        path: ends with `.csv` or `.parquet`.
        frames: of that schema.
        schema: name and type of each column.

    Raises:
        StorageError: it cannot be written.
    """
    text = path.suffix.lower() == ".csv"
    if text:
        frames = map(_as_text, frames)
        schema = pl.DataFrame(schema=schema).pipe(_as_text).schema

    queue: Queue[pl.DataFrame | BaseException | None] = Queue(maxsize=QUEUED)

    def source(*_: Any) -> Iterator[pl.DataFrame]:
        """All frames; polars asks for them from any of its threads."""
        while (frame := queue.get()) is not None:
            if isinstance(frame, BaseException):
                raise frame
            yield frame

    stream = register_io_source(source, schema=dict(schema))
    with atomic_file(path) as file, ThreadPoolExecutor(1) as pool:
        sink = pool.submit(_sink, stream, file, text=text)
        try:
            # The frames are made in this thread alone: made by those of polars, each thread would
            # get sums on threads of its own and keep the memory of its largest block.
            for frame in frames:
                if not _put(queue, frame, sink):
                    break
            _put(queue, None, sink)
        except BaseException as error:
            _put(queue, error, sink)
            raise
        try:
            sink.result()
        except pl.exceptions.PolarsError as error:
            raise StorageError.of(error, path) from error


def _put(queue: "Queue[Any]", item: Any, sink: "Future[None]") -> bool:
    """Hand something over, unless the consumer has stopped."""
    while not sink.done():
        try:
            queue.put(item, timeout=0.1)
        except Full:
            continue
        return True
    return False


def _sink(stream: pl.LazyFrame, file: IO[bytes], *, text: bool) -> None:
    if text:
        stream.sink_csv(file)
    else:
        stream.sink_parquet(file, row_group_size=ROWS_OF_A_GROUP)


def _as_text(frame: pl.DataFrame) -> pl.DataFrame:
    lists = [name for name, kind in frame.schema.items() if kind == pl.List(pl.String)]
    return without_formulas(frame.with_columns(pl.col(name).list.join("|") for name in lists))


ROWS_AT_A_TIME = 1 << 18
NEEDED = ("user", "item")
# Text such as 007 would lose its zeros as a number.
INTEGER = r"^-?(0|[1-9]\d{0,17})$"


@dataclass(frozen=True, eq=False)
class PairsFile:
    """Pairs of raw ids in a CSV or Parquet file, and whatever else stands in it.

    Attributes:
        path: of the file.
        columns: `user`, `item` and, where it is asked for, `timestamp` -> their names in the file.
        rows: how many there are.
        schema: of the blocks.
        delimiter: one character between two values of text.
        quote: what encloses a value that contains the delimiter; None: nothing does.
    """

    path: Path
    columns: Mapping[str, str]
    rows: int
    schema: Mapping[str, Any]
    delimiter: str
    quote: str | None

    @classmethod
    def open(
        cls,
        path: Path,
        columns: Mapping[str, str | None],
        *,
        delimiter: str = "auto",
        as_text: bool = False,
        further_names: Mapping[str, str] | None = None,
    ) -> "PairsFile":
        """Look into a file, once through it.

        Args:
            path: text with a first line of names, or Parquet (by the end of its name).
            columns: our name -> the column's name in the file, or None where it is to be found.
            delimiter: one character between two values of text; auto: it is found.
            as_text: keep the columns of text as they stand; else those in which every value is a
                number become numbers.
            further_names: our name -> a name by which the column may be found as well.

        Raises:
            ConfigError: a column that is named is not there, or it cannot be told which is meant.
            DataError: the file is missing, empty or cannot be read.
        """
        check_file(path)
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        usual = further_names or {}
        quote = None
        if not is_parquet(path):
            with ExitStack() as stack:
                settings = TextSettings(delimiter, header=True, encoding="utf8")
                found_format = open_text(path, settings, stack).format
            delimiter, quote = found_format.separator, found_format.quote_char
        try:
            scanned = _scanned(path, delimiter, quote)
            schema = dict(scanned.collect_schema())
            found = {
                ours: name
                for ours, theirs in columns.items()
                if (name := _column(path, ours, theirs, list(schema), usual.get(ours), delimiter))
            }
            text = [] if as_text or is_parquet(path) else list(schema)
            statistics = _statistics(scanned, text)
        except READ_ERRORS as error:
            raise _unreadable(path, error) from error
        rows = statistics.pop("")
        if rows == 0:
            raise DataError(f"{path}: no rows" + ("" if is_parquet(path) else " below the header"))
        for name in text:
            if not statistics[f"any {name}"]:
                continue  # a column without values is text
            if statistics[f"whole {name}"]:
                schema[name] = pl.Int64()
            elif statistics[f"number {name}"] and name not in found.values():
                schema[name] = pl.Float64()
        return cls(path, found, rows, schema, delimiter, quote)

    def blocks(self) -> Iterator[pl.DataFrame]:
        """The rows in their order, some at a time.

        Raises:
            DataError: the file cannot be read to its end.
        """
        try:
            yield from (
                _scanned(self.path, self.delimiter, self.quote)
                .cast(pl.Schema(self.schema))
                .collect_batches(chunk_size=ROWS_AT_A_TIME, maintain_order=True)
            )
        except READ_ERRORS as error:
            raise _unreadable(self.path, error) from error


def _statistics(scanned: pl.LazyFrame, text: list[str]) -> dict[str, int]:
    """The number of rows, and of columns of text what all of their values are.

    Args:
        scanned: the file.
        text: names of the columns.

    Returns:
        Under the empty name the number of rows; under `any`, `whole` and `number` before a
        column's name whether it has a value, and whether all of them are integers or numbers.
    """
    asked = [pl.len().alias("")]
    for name in text:
        number = pl.col(name).cast(pl.Float64, strict=False).is_not_null()
        asked += [
            pl.col(name).is_not_null().any().alias(f"any {name}"),
            pl.col(name).str.contains(INTEGER).all().alias(f"whole {name}"),
            (number | pl.col(name).is_null()).all().alias(f"number {name}"),
        ]
    return scanned.select(asked).collect(engine="streaming").row(0, named=True)


def _scanned(path: Path, delimiter: str, quote: str | None) -> pl.LazyFrame:
    # `glob`: a name with brackets in it is the name of one file.
    if is_parquet(path):
        return pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return pl.scan_csv(path, separator=delimiter, quote_char=quote, infer_schema=False, glob=False)


def _column(
    path: Path, ours: str, theirs: str | None, names: list[str], usual: str | None, delimiter: str
) -> str | None:
    """The column's name in the file; None where there is none and it is not needed."""
    listed = ", ".join(map(repr, names))
    if theirs is not None:
        if theirs in names:
            return theirs
        close = get_close_matches(theirs, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"columns.{ours}: {path} has no column {theirs!r}; it has {listed}{hint}")
    if usual in names:
        return str(usual)
    matching = usual_columns(ours, names)
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ConfigError(
            f"{path}: several columns could be the {ours}s: {', '.join(map(repr, matching))}; set "
            f"which with columns.{ours}=<name>"
        )
    if ours not in NEEDED:
        return None
    others = [each for each in ",;\t|" if each != delimiter and each in names[0]]
    delimited = ""
    if len(names) == 1 and others:
        delimited = f". Is the delimiter a {called(others[0])}? Then set delimiter=auto"
    raise ConfigError(
        f"{path}: no column for the {ours}s; it has {listed}. Set which with columns.{ours}=<name>"
        + delimited
    )


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if "utf-8" in reason.lower() or "utf8" in reason.lower():
        reason = "its text is not UTF-8; save it as UTF-8"
    return DataError(f"{path}: cannot be read: {reason}")

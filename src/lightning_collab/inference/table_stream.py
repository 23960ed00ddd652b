"""Tables that are too long for memory, written some rows at a time, whole or not at all."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Full, Queue
from typing import IO, Any

import polars as pl
from polars.io.plugins import register_io_source

from lightning_collab.errors import ConfigError, StorageError
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

"""Sources of any size, a part of their rows at a time, read by what reads whole tables."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lightning_collab.config.columns import AUTO, Column
from lightning_collab.config.data import (
    CustomFileConfig,
    DataConfig,
    MovieLens100KConfig,
    MovieLensConfig,
    MovieLensLatestSmallConfig,
    SyntheticConfig,
)
from lightning_collab.config.split import PredefinedSplitConfig, SplitConfig
from lightning_collab.data.checked_table import Caller
from lightning_collab.data.column_names import usual_columns
from lightning_collab.data.column_rules import PARTS
from lightning_collab.data.files.kinds import (
    GZIP_MAGIC,
    HEAD,
    ZSTD_MAGIC,
    PlainText,
    check_file,
    is_json_lines,
    is_parquet,
    part_files,
    plain_text,
)
from lightning_collab.data.files.tables import parquet_names, read_json_lines
from lightning_collab.data.sources import custom_file, ml_100k, ml_large, synthetic
from lightning_collab.data.sources.metadata_file import read_side_files
from lightning_collab.data.sources.movielens import TABLE_FILES, Release, obtained, root_folder
from lightning_collab.data.sources.rating_file import OpenFile, open_text_file, read_file
from lightning_collab.errors import DataError

CHUNK_BYTES = 1 << 26
CHUNK_ROWS = 1 << 22
# Of a packed file: fewer bytes than a rating was ever seen to take.
PACKED_BYTES = 5

SideTables = Mapping[str, pl.DataFrame | None]


@dataclass(frozen=True, eq=False)
class Stream:
    """A source, of which no more than a part is ever in memory.

    Attributes:
        name: of the data set.
        title: what the rows come from, as messages name it.
        files: that it is made of.
        rating_range: lowest and highest rating that the scale allows; None: those found.
        frames: all rows in their order, some at a time: `user`, `item`, `rating`, perhaps `part`.
        features: what is said of `users` and `items`, by the types of their ids; known when all
            rows have been read.
        most_rows: at most how many there are.
        distinct: whether it is known that no pair of user and item comes twice.
        ids: `auto`, where text that is written as integers throughout means integers.
        sizes: of users and items, where these are the numbers from 1 to that.
    """

    name: str
    title: str
    files: Sequence[Path]
    rating_range: tuple[float, float] | None
    frames: Callable[[], Iterator[pl.DataFrame]]
    most_rows: Callable[[], int]
    features: Callable[[Mapping[str, pl.DataType]], SideTables] = field(default=lambda kinds: {})
    distinct: bool = False
    ids: Literal["auto", "integer", "string"] = "auto"
    sizes: Mapping[str, int] = field(default_factory=dict)


def stream_of(config: DataConfig, split: SplitConfig, caller: Caller) -> Stream:
    """A source of ours as a stream.

    Args:
        config: the `data` section.
        split: which may ask for the part that each row names.
        caller: in whose words advice is given.

    Raises:
        DataError: its files cannot be found or downloaded.
    """
    match config:
        case CustomFileConfig():
            return _CustomFiles(config, split, caller).stream()
        case SyntheticConfig():
            return _synthetic(config)
        case MovieLens100KConfig():
            return _small(config)
        case MovieLensLatestSmallConfig():
            return _released(ml_large.EDITIONS[config.edition], config)
        case MovieLensConfig():
            return _released(ml_large.RELEASES[config.name], config)
    raise TypeError(f"{type(config).__name__} is no source of ours")


def _synthetic(config: SyntheticConfig) -> Stream:
    users, items = synthetic.users_and_items(config)

    def frames() -> Iterator[pl.DataFrame]:
        for chunk in synthetic.Drawing.of(config).chunks():
            yield pl.DataFrame(dict(zip(("user", "item", "rating"), chunk, strict=True)))

    return Stream(
        "synthetic",
        "data=synthetic",
        (),
        synthetic.RATING_RANGE,
        frames,
        lambda: config.ratings,
        distinct=True,
        sizes={"users": users, "items": items},
    )


def _small(config: MovieLens100KConfig) -> Stream:
    """A release that is read whole."""
    root = root_folder(config.root)
    files = ml_100k.obtained(root)
    table = ml_100k.load(root)

    def frames() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame(
            {
                "user": table.user_vocabulary.decode(table.users),
                "item": table.item_vocabulary.decode(table.items),
                "rating": table.ratings,
            }
        )

    return Stream(
        table.name,
        table.name,
        files,
        table.rating_range,
        frames,
        lambda: len(table),
        lambda kinds: {"users": table.user_features, "items": table.item_features},
        distinct=True,
    )


def _released(release: Release, config: MovieLensConfig) -> Stream:
    """A larger release: its file of ratings is cut, and each part read as the release is."""
    root = root_folder(config.root)
    files = obtained(release, root)
    path = next((each for each in files if each.stem == "ratings"), root / release.folder)
    found: dict[str, pl.DataFrame | None] = {}

    def frames() -> Iterator[pl.DataFrame]:
        with tempfile.TemporaryDirectory(prefix="lightning-collab-") as name:
            folder = Path(name)
            beside = [folder / each for each in TABLE_FILES if each != path.name]
            for each in beside:
                if (path.parent / each.name).is_file():
                    each.symlink_to((path.parent / each.name).absolute())
            for _, before in text_chunks(path, folder / path.name, header=path.suffix == ".csv"):
                with _said_of(folder, path.parent, before):
                    read = release.read(folder)
                if not found:
                    found.update(users=read.users, items=read.items)
                    for each in beside:
                        each.unlink(missing_ok=True)
                yield read.ratings

    return Stream(
        release.name,
        str(path),
        files,
        release.rating_range,
        frames,
        lambda: most_rows(path, None),
        lambda kinds: found,
    )


@dataclass
class _CustomFiles:
    """Your own files: see `custom_file`, whose columns and rules they have."""

    config: CustomFileConfig
    split: SplitConfig
    caller: Caller
    # Of the first file: our name of each column -> its name there, and whether it has names.
    own: tuple[dict[str, str], bool] | None = None

    def stream(self) -> Stream:
        config = self.config
        return Stream(
            Path(config.path).name,
            config.path,
            custom_file.files(config),
            config.rating_range,
            self._frames,
            lambda: sum(
                most_rows(each, config.format) for parts in self._files().values() for each in parts
            ),
            self._features,
            ids=config.ids,
        )

    def _files(self) -> dict[str, list[Path]]:
        config = self.config
        paths = {"train": config.path, "val": config.val_path, "test": config.test_path}
        return {part: part_files(Path(path)) for part, path in paths.items() if path is not None}

    def _frames(self) -> Iterator[pl.DataFrame]:
        files = self._files()
        try:
            for part, paths in files.items():
                for path in paths:
                    for frame in self._of_file(path, several=len(files) > 1):
                        yield frame if len(files) == 1 else frame.with_columns(part=pl.lit(part))
        except DataError as error:
            advice = custom_file.advice(str(error), self.config, self.caller)
            raise DataError(f"{error}{advice}") from error

    def _of_file(self, path: Path, *, several: bool) -> Iterator[pl.DataFrame]:
        config = self.config
        check_file(path)
        if is_parquet(path, config.format):
            opened = OpenFile(path, parquet_names(path))
            rows = most_rows(path, "parquet")
            for first in range(0, rows, CHUNK_ROWS):
                yield self._read(replace(opened, rows=(first, CHUNK_ROWS)), first, several)
            return
        with (
            plain_text(path, config.encoding) as plain,
            tempfile.TemporaryDirectory(prefix="lightning-collab-") as folder,
        ):
            target = Path(folder) / "part"
            with plain.path.open("rb") as file:
                head = file.read(HEAD)
            if is_json_lines(head, config.format):
                for _, before in text_chunks(plain.path, target):
                    text = PlainText(path, target, plain.encoding)
                    with _said_of(target, path, before):
                        frame = read_json_lines(text)
                    opened = OpenFile(path, frame.columns, json=(text, frame))
                    yield self._read(opened, before, several)
                return
            opened = open_text_file(path, plain, config)
            whole = opened.text
            assert whole is not None
            cuts = text_chunks(plain.path, target, whole.format.has_header, whole.continued)
            for lines, before in cuts:
                continued = [
                    number - before
                    for number in whole.continued
                    if lines.start <= number < lines.stop
                ]
                text_part = replace(whole, path=target, continued=continued)
                yield self._read(replace(opened, text=text_part), before, several)

    def _read(self, opened: OpenFile, before: int, several: bool) -> pl.DataFrame:
        """A part of a file, of whose rows or lines so many come before."""
        columns = self._columns(opened, several)
        if self.own is None:
            self.own = columns, opened.has_names
        with _said_of(opened.path, opened.path, before):
            return read_file(replace(opened, is_part=True), columns, self.config, self.caller)

    def _columns(self, opened: OpenFile, several: bool) -> dict[str, str]:
        asked: dict[str, Column | None] = dict(self.config.columns)
        asked["timestamp"] = asked["weight"] = None
        by_column = isinstance(self.split, PredefinedSplitConfig) and not several
        if not by_column or (
            asked["part"] == AUTO and not (opened.has_names and usual_columns("part", opened.names))
        ):
            asked["part"] = None
        columns = custom_file.columns_of(opened, asked, self.caller)
        if by_column and "part" not in columns:
            raise DataError(
                f"{opened.path}: split=predefined needs a column that says {', '.join(PARTS)}; "
                f"name it with {self.caller.key('columns.part')}"
            )
        return columns

    def _features(self, kinds: Mapping[str, pl.DataType]) -> SideTables:
        assert self.own is not None
        columns, named = self.own
        by_column = {side.removesuffix("s"): kind for side, kind in kinds.items()}
        return {
            side: read_side_files(
                self.config.side_paths(side),
                side.removesuffix("s"),
                columns,
                by_column,
                named=named,
            )
            for side in ("users", "items")
        }


def most_rows(path: Path, said: Literal["csv", "jsonl", "parquet"] | None) -> int:
    """At most how many rows a file has; of a packed one about that.

    Args:
        path: of the file.
        said: of what kind it is said to be.
    """
    if is_parquet(path, said):
        found: int = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
        return found
    check_file(path)
    lines = 1
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            if lines == 1 and chunk.startswith((GZIP_MAGIC, ZSTD_MAGIC)):
                return path.stat().st_size // PACKED_BYTES + 1
            lines += int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == ord("\n")))
    return lines


def text_chunks(
    path: Path, target: Path, header: bool = False, continued: Sequence[int] = ()
) -> Iterator[tuple[range, int]]:
    """Cut a text file between records, a part after the other in a file of its own.

    Args:
        path: of the text.
        target: where each part is written, with the header above it.
        header: whether the first line that is not blank is one.
        continued: numbers of lines that continue the record of the line before.

    Yields:
        The numbers of the lines of the part, and how much lower they are there.
    """
    joined = frozenset(continued)
    with path.open("rb") as file:
        top = b""
        while header and not top.strip():
            line = file.readline()
            if not line:
                break
            top += line
        above = top.count(b"\n")
        while header and above + 1 in joined:
            top += file.readline()
            above += 1
        first = above + 1
        while content := file.read(CHUNK_BYTES):
            content += file.readline()
            lines = content.count(b"\n")
            while first + lines in joined and (more := file.readline()):
                content += more
                lines += 1
            if content.strip():
                target.write_bytes(top + content)
                yield range(first, first + lines + 1), first - 1 - above
            first += lines


@contextmanager
def _said_of(part: Path, whole: Path, before: int) -> Iterator[None]:
    """Errors of a part of a file name the file, and its lines or rows."""
    try:
        yield
    except DataError as error:
        counted = re.sub(
            r", (line|row) (\d+)",
            lambda found: f", {found[1]} {int(found[2]) + before}",
            str(error).replace(str(part), str(whole)),
        )
        raise DataError(counted) from error

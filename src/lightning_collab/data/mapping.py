"""Turning a source of any size into columns on disk, once, a part of it at a time."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from filelock import FileLock
from numpy.typing import NDArray

from lightning_collab.config.data import DataConfig
from lightning_collab.config.split import PredefinedSplitConfig, SplitConfig
from lightning_collab.data.checked_table import Caller, found_scale
from lightning_collab.data.draws import FIRST, GOLDEN, mixed
from lightning_collab.data.mapped_table import COLUMNS, FACTS, PARTS, MappedTable, mapped_column
from lightning_collab.data.rating_table import AT_A_TIME
from lightning_collab.data.sources.streams import Stream, stream_of
from lightning_collab.data.table_cache import DAMAGE, cache_folder, cache_names
from lightning_collab.errors import ConfigError, DataError, StorageError
from lightning_collab.kernel_cache import cached_njit
from lightning_collab.runs.files import sum_of

log = logging.getLogger(__name__)

TRAIN, VAL, TEST = range(3)
# Pairs of which it is seen together whether one comes twice; 8 bytes each, and as many to sort.
PAIRS_AT_A_TIME = 1 << 25
# Ratings of more different values than these are no scale whose ends could be looked at.
MOST_VALUES = 1 << 16
# Training rows of a long source are dealt to up to so many stretches of a file, a row by its hash,
# of so many rows each: neighbors in the source, such as all rows of a user, come at many times of
# an epoch in place of in one window.
MOST_STRETCHES, STRETCH = 64, 1 << 20
# Ratings after which it is said how far the work is.
SAID_EVERY = 100_000_000
NOT_OF_THE_COLUMNS = {"batch_size", "cache", "root", "storage", "shuffle_window"}
INTEGER = r"^(0|[1-9]\d{0,17})$"


def mapped_table(config: DataConfig, split: SplitConfig, caller: Caller) -> MappedTable:
    """The columns of a source: those that are there, else written now.

    An entry beside the parsed tables, found in the same way; the split is part of what it is. A
    process that is killed leaves a folder that the next one removes.

    Args:
        config: the `data` section.
        split: of its rows.
        caller: in whose words messages are.

    Raises:
        ConfigError: the split needs all ratings in memory.
        DataError: the source is bad, or was changed while it was read.
        StorageError: there is no room for the columns.
    """
    try:
        split.check_storage(config)
        split.check_source(config)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    stream = stream_of(config, split, caller)
    settings = config.model_dump(mode="json", exclude=NOT_OF_THE_COLUMNS)
    what, version = cache_names([settings, split.model_dump(mode="json")], stream.files)
    folder = cache_folder()
    entry = folder / f"columns-{what}-{version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".columns-{what}.lock"):
            if entry.is_dir():
                try:
                    return MappedTable.opened(entry, config.shuffle_window)
                except DAMAGE as error:
                    log.warning("the columns in %s are damaged (%s); made again", entry, error)
            # Before the new ones, for which there may be no room beside them.
            for old in folder.glob(f"columns-{what}-*"):
                shutil.rmtree(old)
            writing = folder / f".writing-{what}"
            shutil.rmtree(writing, ignore_errors=True)
            writing.mkdir()
            try:
                _write(stream, config, split, writing, caller)
                writing.rename(entry)
            finally:
                shutil.rmtree(writing, ignore_errors=True)
            return MappedTable.opened(entry, config.shuffle_window)
    except OSError as error:
        raise StorageError.of(error, folder) from error


def _write(
    stream: Stream, config: DataConfig, split: SplitConfig, folder: Path, caller: Caller
) -> None:
    """All columns, and last what they are."""
    _check_room(stream, folder)
    before = _states(stream.files)
    users, items = (_Ids(stream.sizes.get(side)) for side in ("users", "items"))
    values: pl.DataFrame | None = pl.DataFrame(schema={"rating": pl.Float32, "count": pl.UInt32})
    lowest, highest = np.inf, -np.inf
    row = read = 0
    stretches = max(1, min(MOST_STRETCHES, stream.most_rows() // STRETCH))
    train = [f"train-{number}" for number in range(stretches)]
    with ExitStack() as stack:
        files = {
            (part, name): stack.enter_context((folder / f"{part}.{name}").open("wb"))
            for part in (*train, *PARTS[VAL:])
            for name in COLUMNS
        }
        for frame in stream.frames():
            read += len(frame)
            frame = frame.with_columns(pl.col("rating").cast(pl.Float32))
            if stream.rating_range is None and len(frame):
                found = frame["rating"].to_numpy()
                lowest, highest = min(lowest, found.min()), max(highest, found.max())
                values = _counted(values, frame["rating"])
            if config.min_rating is not None:
                lowest_kept = pl.lit(config.min_rating, pl.Float32)
                frame = frame.filter(pl.col("rating") >= lowest_kept)
            if frame.is_empty():
                continue
            ratings = frame["rating"].to_numpy()
            which = _parts(frame, split, row)
            training = which == TRAIN
            columns = (users.rows(frame["user"], training), items.rows(frame["item"], training))
            dealt = hashed_stretches(np.uint64(split.seed), row, len(frame), stretches)
            which[training] = len(PARTS) + dealt[training]
            # By digits, and in the order of the source within each.
            order = np.argsort(which, kind="stable")
            ends = np.cumsum(np.bincount(which, minlength=len(PARTS) + stretches))
            for name, column in zip(COLUMNS, (*columns, ratings), strict=True):
                parts = np.split(column[order], ends[:-1])
                for part, rows in zip((*PARTS, *train), parts, strict=True):
                    if part != "train":
                        files[part, name].write(rows.data)
            row += len(frame)
            if row // SAID_EVERY > (row - len(frame)) // SAID_EVERY:
                log.info("%s: %s ratings written", stream.name, f"{row:,}")
        for file in files.values():
            _kept(file)
    for name in COLUMNS:
        _joined([folder / f"{part}.{name}" for part in train], folder / f"train.{name}")
    if _states(stream.files) != before:
        raise DataError(f"{stream.title}: it was changed while it was read; start again")
    if not row:
        left = f"rating is left ({caller.key('min_rating')})" if read else "row has a rating"
        raise DataError(f"{stream.title}: no {left}")
    _check_parts(stream, split, row, folder)
    scale = stream.rating_range
    if scale is None:
        scale = found_scale(values, (float(lowest), float(highest)), stream.title, caller)
    ids = {"users": users, "items": items}
    for side, each in ids.items():
        if each.count <= 1:
            raise DataError(
                f"{stream.title}: all {row} ratings are of one {side[:-1]}; learning from ratings "
                f"needs several (is {caller.key(f'columns.{side[:-1]}')} the right column?)"
            )
    if not stream.distinct:
        _check_pairs(stream, folder, users, items)
    numbered = {side: each.numbered(stream.ids) for side, each in ids.items()}
    features = stream.features({side: known.schema["id"] for side, (known, _) in numbered.items()})
    sums = {f"{part}.ratings": sum_of(folder / f"{part}.ratings") for part in PARTS}
    for side, (known, row_of) in numbered.items():
        sums |= {f"{part}.{side}": _renumber(folder / f"{part}.{side}", row_of) for part in PARTS}
        tables = {f"{side}.arrow": known, f"{side}_features.arrow": features.get(side)}
        for name, table in tables.items():
            if table is not None:
                table.write_ipc(folder / name)
                sums[name] = sum_of(folder / name)
    facts = {"name": stream.name, "rating_range": list(scale), "sha256": sums}
    with (folder / FACTS).open("wb") as file:
        file.write(json.dumps(facts).encode())
        _kept(file)


def _joined(parts: Sequence[Path], whole: Path) -> None:
    """One file of several, which are removed one after the other."""
    parts[0].rename(whole)
    with whole.open("ab") as target:
        for part in parts[1:]:
            with part.open("rb") as file:
                shutil.copyfileobj(file, target, 1 << 22)
            part.unlink()
        _kept(target)


def _kept(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _states(files: Sequence[Path]) -> list[tuple[int, int]]:
    """By which a change of a file is seen."""
    found = (path.stat() for path in files if path.is_file())
    return [(each.st_size, each.st_mtime_ns) for each in found]


def _check_room(stream: Stream, folder: Path) -> None:
    needed = stream.most_rows() * 4 * len(COLUMNS)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{stream.title}: up to {stream.most_rows():,} ratings need {needed / 1e9:.1f} GB in "
            f"{folder.parent}, and {free / 1e9:.1f} GB are free; set LIGHTNING_COLLAB_CACHE to a "
            "folder on a larger disk"
        )


def _counted(values: pl.DataFrame | None, ratings: pl.Series) -> pl.DataFrame | None:
    """How often each value has come, with those of some more ratings; None: too many values."""
    if values is None:
        return None
    new = ratings.value_counts()
    both = pl.concat([values, new]).group_by("rating").agg(pl.col("count").sum())
    return both if len(both) <= MOST_VALUES else None


class _Ids:
    """The ids of one side, numbered as they come, and their training ratings.

    Args:
        size: where the ids are the numbers from 1 to that; None: any.
    """

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._known: pl.DataFrame | None = None
        self._counts = np.zeros(size or 0, np.int64)
        if size is not None:
            numbers = pl.int_range(size, dtype=pl.Int32, eager=True)
            self._known = pl.DataFrame({"id": numbers.cast(pl.Int64) + 1, "number": numbers})

    @property
    def count(self) -> int:
        """How many."""
        return len(self._counts)

    def rows(self, ids: pl.Series, training: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Numbers of ids, int32 [n]; those that count are of the training part."""
        known = self._known
        if self._size is not None:
            own: NDArray[np.int32] = ids.to_numpy() - np.int32(1)
            self._counts += np.bincount(own[training], minlength=self._size)
            return own
        if known is None:
            known = pl.DataFrame({"id": ids[:0], "number": pl.Series([], dtype=pl.Int32)})
        if known.schema["id"] != ids.dtype:
            # Written as integers so far; that they all are is seen at the end.
            known, ids = known.with_columns(pl.col("id").cast(pl.String)), ids.cast(pl.String)
        frame = ids.rename("id").to_frame()
        found = frame.join(known, on="id", how="left", maintain_order="left")["number"]
        if found.has_nulls():
            new = frame.filter(found.is_null()).unique(maintain_order=True)
            numbers = pl.int_range(len(known), len(known) + len(new), dtype=pl.Int32, eager=True)
            known = pl.concat([known, new.with_columns(number=numbers)])
            found = frame.join(known, on="id", how="left", maintain_order="left")["number"]
            self._counts = np.append(self._counts, np.zeros(len(new), np.int64))
        self._known = known
        numbered: NDArray[np.int32] = found.to_numpy()
        self._counts += np.bincount(numbered[training], minlength=len(self._counts))
        return numbered

    def named(self, number: int) -> Any:
        """The id of a number."""
        assert self._known is not None
        return self._known["id"][number]

    def numbered(self, asked: str) -> tuple[pl.DataFrame, NDArray[np.int32]]:
        """All ids in ascending order with their training ratings, and the row of each number.

        Args:
            asked: `auto`: text that is written as integers throughout becomes integers.
        """
        assert self._known is not None
        ids = self._known["id"]
        if ids.dtype == pl.String and asked == "auto" and ids.str.contains(INTEGER).all():
            ids = ids.cast(pl.Int64)
        order = ids.arg_sort().to_numpy()
        counts = self._counts[order]
        rows = np.zeros(len(ids), np.int32)
        rows[order] = np.where(counts > 0, np.cumsum(counts > 0), 0)
        return pl.DataFrame({"id": ids.gather(order), "ratings": counts}), rows


def _parts(frame: pl.DataFrame, split: SplitConfig, first: int) -> NDArray[np.uint8]:
    """The part of each row, as a number: of a row alone, by its hash."""
    shares = np.float64(getattr(split, "test", 0.0)), np.float64(split.val)
    which: NDArray[np.uint8] = hashed_parts(np.uint64(split.seed), first, len(frame), *shares)
    if not isinstance(split, PredefinedSplitConfig):
        return which
    for number, name in ((VAL, split.val_part), (TEST, split.test_part)):
        if name is not None:
            which[(frame["part"] == name).to_numpy()] = number
    return which


@cached_njit(nogil=True)
def hashed_parts(seed: Any, first: int, count: int, test: Any, val: Any) -> Any:
    """The part of each of some rows, uint8 [count]: 0 train, 1 val, 2 test, by (seed, row) alone.

    Args:
        seed: of the split.
        first: number of the first row.
        count: how many rows.
        test: share of all rows.
        val: share of the rows that are not test.
    """
    which = np.empty(count, np.uint8)
    key = mixed(seed + GOLDEN)
    until_val = test + (1.0 - test) * val
    for row in range(count):
        bits = mixed(key + GOLDEN * np.uint64(first + row + 1))
        share = np.float64(bits >> np.uint64(11)) * 2.0**-53
        which[row] = 2 if share < test else 1 if share < until_val else 0
    return which


@cached_njit(nogil=True)
def hashed_stretches(seed: Any, first: int, count: int, stretches: int) -> Any:
    """Which stretch each of some rows goes to, uint8 [count], by (seed, row) alone.

    Args:
        seed: of the split.
        first: number of the first row.
        count: how many rows.
        stretches: how many there are.
    """
    which = np.empty(count, np.uint8)
    key = mixed(seed + FIRST)
    for row in range(count):
        which[row] = mixed(key + GOLDEN * np.uint64(first + row + 1)) % np.uint64(stretches)
    return which


def _check_parts(stream: Stream, split: SplitConfig, rows: int, folder: Path) -> None:
    """Refuse parts without rows that were asked for."""
    asked = {
        "train": True,
        "val": split.has_val,
        "test": getattr(split, "test", 0) or getattr(split, "test_part", None) is not None,
    }
    for part, wanted in asked.items():
        if wanted and not (folder / f"{part}.ratings").stat().st_size:
            raise DataError(
                f"{stream.title}: split={split.name} leaves the {part} part of {rows} ratings "
                "without any"
            )


def _check_pairs(stream: Stream, folder: Path, users: _Ids, items: _Ids) -> None:
    """Refuse pairs of user and item that come twice, looking at some users after the others."""
    columns = [
        tuple(mapped_column(folder / f"{part}.{side}", np.int32) for side in ("users", "items"))
        for part in PARTS
    ]
    turns = 1 + sum(len(each) for each, _ in columns) // PAIRS_AT_A_TIME
    repeats, first = 0, None
    for turn in range(turns):
        found = []
        for user, item in columns:
            for start in range(0, len(user), AT_A_TIME):
                these, those = user[start : start + AT_A_TIME], item[start : start + AT_A_TIME]
                if turns > 1:
                    mine = these % turns == turn
                    these, those = these[mine], those[mine]
                found.append(these.astype(np.int64) * items.count + those)
        pairs = np.concatenate(found)
        pairs.sort()
        again = pairs[1:] == pairs[:-1]
        if repeats == 0 and again.any():
            first = divmod(int(pairs[:-1][again][0]), items.count)
        repeats += int(again.sum())
    if first is not None:
        raise DataError(
            f"{stream.name}: {repeats} ratings are of an item that the same user has rated already "
            f"(first: user {users.named(first[0])!r}, item {items.named(first[1])!r}); leave them "
            "out of the source, or set data.storage=memory with data.duplicates"
        )


def _renumber(path: Path, row_of: NDArray[np.int32]) -> str:
    """Put the rows of ids in place of the numbers that they had; the sum of the file."""
    total = hashlib.sha256()
    if path.stat().st_size:
        column = np.memmap(path, np.int32, mode="r+")
        for start in range(0, len(column), AT_A_TIME):
            part = row_of[column[start : start + AT_A_TIME]]
            column[start : start + AT_A_TIME] = part
            total.update(part.data)
        column.flush()
    return total.hexdigest()

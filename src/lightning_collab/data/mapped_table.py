"""Ratings that stay on disk: columns that are mapped, and batches that read a window at a time."""

import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_collab.data.batches import EpochBatches, RatingBatch, Share
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits import SplitRows
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.runs.files import sum_of

FACTS = "columns.json"
PARTS = ("train", "val", "test")
# Of each part, in this order: 12 bytes a rating.
COLUMNS: Mapping[str, type[np.generic]] = {
    "users": np.int32,
    "items": np.int32,
    "ratings": np.float32,
}
# Rows that stand together on disk and are read together.
BLOCK = 1 << 14
# A window is of so many blocks at least, so that rows of few users do not come together.
BLOCKS_IN_WINDOW = 64
# A batch of at least so many ratings is put together of this many streams of blocks, each a share
# of the batch, so that a rank reads the blocks of its own share alone.
STREAMED_BATCH, STREAMS = 1 << 13, 8


@dataclass(frozen=True)
class PartRows:
    """Stands for the row numbers of a part, which are nowhere written down.

    Attributes:
        part: its name.
        count: its ratings.
    """

    part: str
    count: int

    def __len__(self) -> int:
        """Number of ratings."""
        return self.count


@dataclass(frozen=True, eq=False, kw_only=True)
class MappedTable(RatingTable):
    """A table whose parts are columns on disk; what it has of a `RatingTable` is its training part.

    Attributes:
        columns: by part: users int32 [n], items int32 [n], ratings float32 [n]; ids as rows of the
            training vocabularies, 0 where the training part does not have them.
        training_users: the ids with training ratings.
        training_items: likewise.
        sum: SHA-256 of all of it, in hexadecimal.
        window: ratings that a shuffle holds in memory.
    """

    columns: Mapping[str, tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]]
    training_users: Vocabulary
    training_items: Vocabulary
    sum: str
    window: int

    @property
    def rows(self) -> SplitRows:
        """The parts, by number alone."""
        parts = (PartRows(part, len(self.columns[part][2])) for part in PARTS)
        return SplitRows(*cast(Any, parts))

    @classmethod
    def opened(cls, folder: Path, window: int) -> "MappedTable":
        """The columns of a folder.

        Args:
            folder: that `data.mapping` has written.
            window: ratings that a shuffle holds in memory.

        Raises:
            ValueError: a file is not what was written; so are `OSError` and `LookupError`.
        """
        text = (folder / FACTS).read_text()
        facts = json.loads(text)
        for name, sha256 in facts["sha256"].items():
            if sum_of(folder / name) != sha256:
                raise ValueError(f"{name} is not what was written")
        columns: Any = {
            part: tuple(
                mapped_column(folder / f"{part}.{name}", kind) for name, kind in COLUMNS.items()
            )
            for part in PARTS
        }
        known = {side: pl.read_ipc(folder / f"{side}.arrow") for side in ("users", "items")}
        trained = {side: each.filter(pl.col("ratings") > 0)["id"] for side, each in known.items()}
        features: dict[str, Any] = {
            side: pl.read_ipc(path)
            if (path := folder / f"{side}_features.arrow").is_file()
            else None
            for side in known
        }
        low, high = facts["rating_range"]
        return cls(
            name=facts["name"],
            users=columns["train"][0],
            items=columns["train"][1],
            ratings=columns["train"][2],
            timestamps=None,
            user_vocabulary=Vocabulary(known["users"]["id"]),
            item_vocabulary=Vocabulary(known["items"]["id"]),
            rating_range=(float(low), float(high)),
            user_features=features["users"],
            item_features=features["items"],
            columns=columns,
            training_users=Vocabulary(trained["users"]),
            training_items=Vocabulary(trained["items"]),
            sum=hashlib.sha256(text.encode()).hexdigest(),
            window=window,
        )


def mapped_column(path: Path, kind: type[np.generic]) -> NDArray[Any]:
    """A column; its pages are those of the file, shared by all processes that only read them.

    Args:
        path: of the file.
        kind: of its numbers.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:  # which cannot be mapped
            return np.empty(0, kind)
        # Private, so that what torch takes for writable memory never reaches the file.
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), kind)


class MappedBatches(EpochBatches[RatingBatch]):
    """Batches of ratings on disk, for one rank; see `EpochBatches`.

    No order of all rows is ever written down. Blocks of neighboring rows come in an order drawn
    from (seed, epoch); as many as a window holds are read one after the other, and the rows in it
    come in an order drawn from (seed, epoch, window). Where a window holds all rows it is the
    order of ratings in memory. Large batches are put together of several such streams, each of
    which gives the same share of each batch, so that a rank reads its own streams alone.

    Args:
        columns: users int32 [n], items int32 [n], ratings float32 [n].
        window: rows that are held in memory at a time.
        device: where batches go.
        options: of `EpochBatches`.
    """

    def __init__(self, columns: tuple[Tensor, ...], *, window: int, **options: Any) -> None:
        super().__init__(len(columns[0]), **options)
        self._columns = columns
        whole = self.rows <= window
        self._streams = 1 if whole or self.batch_size < STREAMED_BATCH else STREAMS
        self._window = max(1, window // self._streams)
        self._block = min(BLOCK, max(1, self._window // BLOCKS_IN_WINDOW))
        # Of each stream, the number of its window and the rows in it.
        self._held: dict[int, tuple[int, tuple[Tensor, ...]]] = {}
        self._blocks: tuple[int, Tensor, NDArray[np.int64]] | None = None
        last = self.rows - (self.batches - 1) * self.batch_size
        each = np.diff(self._cuts(self.batch_size)) * (self.batches - 1) + np.diff(self._cuts(last))
        self._begins = np.concatenate([[0], np.cumsum(each)])

    def order(self) -> None:
        """None: the rows of a share are places in the order of the epoch."""
        return

    def batch(self, share: Share) -> RatingBatch:
        """These ratings."""
        assert isinstance(share.rows, slice)
        start, stop = share.rows.start, share.rows.stop
        if not self.shuffle:
            parts = [tuple(column[start:stop] for column in self._columns)]
        else:
            parts = [
                part
                for stream, first, last in self._pieces(start, stop)
                for part in self._taken(stream, first, last)
            ]
        users, items, ratings = (
            (columns[0] if len(columns) == 1 else torch.cat(columns)).to(self.device)
            for columns in zip(*parts, strict=True)
        )
        return RatingBatch(
            users, items, ratings, None, share.start, share.whole_size, share.draw_seed
        )

    def _cuts(self, size: int) -> NDArray[np.int64]:
        """Where the share of each stream begins in a batch, and the end of the last."""
        return np.arange(self._streams + 1) * size // self._streams

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Which rows of which streams stand at some places of the epoch."""
        if self._streams == 1 or start == stop:
            yield 0, start, stop
            return
        widths = np.diff(self._cuts(self.batch_size))
        for batch in range(start // self.batch_size, -(-stop // self.batch_size)):
            first = batch * self.batch_size
            cuts = self._cuts(min(self.batch_size, self.rows - first))
            for stream in range(self._streams):
                low, high = max(start - first, cuts[stream]), min(stop - first, cuts[stream + 1])
                if low < high:
                    before = batch * widths[stream] - cuts[stream]
                    yield stream, int(before + low), int(before + high)

    def _taken(self, stream: int, first: int, last: int) -> Iterator[tuple[Tensor, ...]]:
        """Rows of a stream, a window at a time; none as none."""
        while True:
            number = first // self._window
            begin = number * self._window
            end = min(last, begin + self._window)
            rows = self._rows_in(stream, number) if first < last else self._columns
            yield tuple(column[first - begin : end - begin] for column in rows)
            first = end
            if first >= last:
                return

    def _rows_in(self, stream: int, window: int) -> tuple[Tensor, ...]:
        """The rows of a window of a stream in the order of the epoch."""
        if self._blocks is None or self._blocks[0] != self.epoch:
            self._held.clear()
            self._blocks = (self.epoch, *self._block_order())
        held = self._held.get(stream)
        if held is None or held[0] != window:
            self._held.pop(stream, None)
            held = self._held[stream] = window, self._read(stream, window)
        return held[1]

    def _block_order(self) -> tuple[Tensor, NDArray[np.int64]]:
        """The blocks in the order of this epoch, and where each begins in it."""
        blocks = -(-self.rows // self._block)
        generator = torch.Generator().manual_seed(self.epoch_seed(2))
        order = torch.randperm(blocks, generator=generator)
        sizes = np.minimum(self._block, self.rows - order.numpy() * self._block)
        return order, np.concatenate([[0], np.cumsum(sizes)])

    def _read(self, stream: int, window: int) -> tuple[Tensor, ...]:
        assert self._blocks is not None
        if self.rows <= self._window:
            order = super().order()
            assert order is not None
            return tuple(column.index_select(0, order.cpu()) for column in self._columns)
        _, order, begins = self._blocks
        begin = int(self._begins[stream]) + window * self._window
        end = min(begin + self._window, int(self._begins[stream + 1]))
        cuts = []
        for place in range(int(np.searchsorted(begins, begin, "right")) - 1, len(order)):
            if begins[place] >= end:
                break
            offset = int(order[place]) * self._block - int(begins[place])
            low, high = max(begin, int(begins[place])), min(end, int(begins[place + 1]))
            cuts.append(slice(offset + low, offset + high))
        seed = np.random.SeedSequence([self.seed, self.epoch, stream, window])
        generator = torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 2))
        mixed = torch.randperm(end - begin, generator=generator, dtype=torch.int32)
        return tuple(
            torch.cat([column[cut] for cut in cuts]).index_select(0, mixed)
            for column in self._columns
        )

"""What a run keeps of its data beside its checkpoints: users, items, and who rated what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.io.plugins import register_io_source

from lightning_collab.data.rating_table import AT_A_TIME
from lightning_collab.data.vocabulary import ID_COLUMN, UNKNOWN_ROW, Side
from lightning_collab.errors import CheckpointError
from lightning_collab.runs.files import check_sum

if TYPE_CHECKING:
    from lightning_collab.data.datamodule import RatingColumns, RatingDataModule

SCHEMA = {"user": pl.Int32, "item": pl.Int32, "rating": pl.Float32, "held_out": pl.Boolean}


@dataclass(frozen=True, eq=False)
class History:
    """What each user has rated, as the model numbers users and items.

    Attributes:
        starts: int64 [user rows + 1]; the ratings of row u are those from `starts[u]` to
            `starts[u + 1]`.
        items: int32 [n], rows of the model.
        ratings: float32 [n], in rating units.
        held_out: bool [n], whether the model was not trained on the rating.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    held_out: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of ratings."""
        return len(self.items)

    def of(self, user: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Items and ratings of one user, held-out ones too.

        Args:
            user: row of the model.
        """
        own = slice(self.starts[user], self.starts[user + 1])
        return self.items[own], self.ratings[own]

    def trained(self) -> History:
        """Only what the model was trained on."""
        kept = ~self.held_out
        before = np.concatenate([[0], np.cumsum(kept)])
        return History(before[self.starts], self.items[kept], self.ratings[kept], ~kept[kept])

    @classmethod
    def read(cls, path: Path, user_rows: int, item_rows: int) -> History:
        """The history of a run.

        Args:
            path: of the file.
            user_rows: of the model.
            item_rows: of the model.

        Raises:
            CheckpointError: there is none, or it is not readable or of another run.
        """
        check_sum(path)
        try:
            table = pl.read_parquet(path)
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{path}: it does not exist; the run was made by a version that did not keep what "
                "its users have rated. Train it again, or set seen=none to leave nothing out"
            ) from error
        except (OSError, pl.exceptions.PolarsError) as error:
            raise CheckpointError(f"{path}: not readable: {error}") from error
        if table.schema != SCHEMA or table.is_empty():
            raise CheckpointError(f"{path}: not the history of a run")
        users, items = table["user"].to_numpy(), table["item"].to_numpy()
        # The kernels that it goes into check no bounds.
        if users[0] < 1 or items.min() < 1 or (np.diff(users) < 0).any():
            raise CheckpointError(f"{path}: not sorted by user")
        if users[-1] >= user_rows or items.max() >= item_rows:
            raise CheckpointError(f"{path}: not of the users and items of the checkpoint")
        return cls(
            np.searchsorted(users, np.arange(user_rows + 1)).astype(np.int64),
            items,
            table["rating"].to_numpy(),
            table["held_out"].to_numpy(),
        )


# Of a history that is written from disk, how many are sorted together.
ROWS_SORTED = 1 << 25


def metadata_table(data: RatingDataModule, side: Side) -> pl.DataFrame:
    """One row for each user or item that the data knows.

    Args:
        data: split ratings.
        side: `users` or `items`.

    Returns:
        First the ids of the training part in the order of their embedding rows, then the ids that
        only the other parts or the features have. Columns: the raw id (`user` or `item`), the
        features of the source, `ratings` (number of training ratings, Int64) and `mean_rating`
        (of the training ratings, Float64; null where there is none).
    """
    column = ID_COLUMN[side]
    train = data.columns(data.rows.train)
    if side == "items":
        rows, known, everyone = train.items, data.item_vocabulary, data.table.item_vocabulary
        features = data.table.item_features
    else:
        rows, known, everyone = train.users, data.user_vocabulary, data.table.user_vocabulary
        features = data.table.user_features
    counts = data.summed(rows, len(known))[1:]
    sums = data.summed(rows, len(known), train.ratings)[1:]
    seen = pl.DataFrame({column: known.ids, "ratings": counts, "mean_rating": sums / counts})
    ids = everyone.ids if features is None else pl.concat([everyone.ids, features[column]])
    ids = ids.unique().sort()
    others = pl.DataFrame({column: ids.filter(~ids.is_in(known.ids.implode()))})
    table = pl.concat([seen, others], how="diagonal").with_columns(pl.col("ratings").fill_null(0))
    if features is None:
        return table
    described = table.join(features, on=column, how="left", maintain_order="left")
    return described.select(*features.columns, "ratings", "mean_rating")


def write_history(data: RatingDataModule, file: IO[bytes]) -> None:
    """Write the history as Parquet; of ratings on disk some users after the others.

    Args:
        data: split ratings.
        file: where to.
    """
    if data.mapped is None:
        history_table(data).write_parquet(file)
    else:
        found = register_io_source(lambda *_: _history_by_users(data), schema=SCHEMA)
        found.sink_parquet(file)


def _history_by_users(data: RatingDataModule) -> Iterator[pl.DataFrame]:
    """The rows of `history_table`, `ROWS_SORTED` or a few more of them at a time."""
    counts = np.zeros(len(data.user_vocabulary), np.int64)
    cuts = []
    for rows, held_out in ((data.rows.train, False), (data.rows.val, True), (data.rows.test, True)):
        found = data.columns(rows)
        counts += data.summed(found.users, len(counts))
        for start in range(0, len(rows), AT_A_TIME):
            part = found.taken(slice(start, start + AT_A_TIME))
            cuts.append((part, held_out, part.users.min(), part.users.max()))
    turns = np.cumsum(counts[1:]) // ROWS_SORTED
    for turn in np.unique(turns):
        low, high = np.searchsorted(turns, [turn, turn + 1]) + 1
        parts = []
        for part, held_out, least, most in cuts:
            if least >= high or most < low:
                continue
            mine = (part.users >= low) & (part.users < high) & (part.items != UNKNOWN_ROW)
            parts.append(_history_of(part.taken(mine), held_out))
        yield pl.concat(parts).sort("user", "item")


def history_table(data: RatingDataModule) -> pl.DataFrame:
    """All ratings of users and items that the model knows, by user and item.

    Args:
        data: split ratings.

    Returns:
        `user` and `item` (Int32, rows of the model), `rating` (Float32) and `held_out`: whether
        the rating is of the validation or the test part.
    """
    parts = []
    for rows, held_out in ((data.rows.train, False), (data.rows.val, True), (data.rows.test, True)):
        found = data.columns(rows)
        known = (found.users != UNKNOWN_ROW) & (found.items != UNKNOWN_ROW)
        parts.append(_history_of(found if known.all() else found.taken(known), held_out))
    return pl.concat(parts).sort("user", "item")


def _history_of(found: RatingColumns, held_out: bool) -> pl.DataFrame:
    columns = {"user": found.users, "item": found.items, "rating": found.ratings}
    return pl.DataFrame(columns, schema_overrides=SCHEMA).with_columns(held_out=pl.lit(held_out))

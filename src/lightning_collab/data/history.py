"""Who rated what: kept beside a run's checkpoints, so that what a user knows can be left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.errors import CheckpointError
from lightning_collab.runs.sums import check_sum

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

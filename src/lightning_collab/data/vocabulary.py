"""Raw ids (as the data has them) and row numbers (as an embedding table has them)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

Side = Literal["users", "items"]

# The column that holds the raw ids.
ID_COLUMN: dict[Side, str] = {"users": "user", "items": "item"}
# The row of every id that the vocabulary does not have.
UNKNOWN_ROW = 0
ENCODED_AT_A_TIME = 1 << 20


@dataclass(frozen=True)
class Vocabulary:
    """The ids that are known; the first of them has row 1.

    Attributes:
        ids: unique raw ids, Int64 or String; row `k` of a table is `ids[k - 1]`. First those with
            training ratings, ascending, then those of which only features are known, ascending.
        cold: how many of the latter.
    """

    ids: pl.Series
    cold: int = 0

    @classmethod
    def of(cls, raw_ids: pl.Series) -> Self:
        """The vocabulary of all ids that occur in a column."""
        return cls(raw_ids.unique().sort())

    def __len__(self) -> int:
        """Rows of an embedding table for it: the known ids and the unknown row."""
        return len(self.ids) + 1

    @property
    def warm(self) -> int:
        """How many ids have training ratings: rows 1 to that number."""
        return len(self.ids) - self.cold

    def with_cold(self, raw_ids: pl.Series) -> "Vocabulary":
        """With further ids, of which only features are known.

        Args:
            raw_ids: unique; they are compared as this vocabulary's type.
        """
        ids = pl.concat([self.ids[self.warm :], raw_ids.cast(self.ids.dtype).alias(self.ids.name)])
        return Vocabulary(pl.concat([self.ids[: self.warm], ids.sort()]), len(ids))

    def without_cold(self) -> "Vocabulary":
        """Only those with training ratings."""
        return Vocabulary(self.ids[: self.warm])

    def __eq__(self, other: object) -> bool:
        """Same ids of the same type, in the same rows."""
        return (
            isinstance(other, Vocabulary)
            and self.cold == other.cold
            and self.ids.equals(other.ids, check_dtypes=True)
        )

    def __hash__(self) -> int:
        """Consistent with equality."""
        return hash((len(self.ids), str(self.ids.dtype)))

    def encode(self, raw_ids: pl.Series | Iterable[Any]) -> NDArray[np.int32]:
        """Row numbers of raw ids; `UNKNOWN_ROW` for those that are not known.

        Args:
            raw_ids: any number of ids; they are compared as this vocabulary's type.

        Returns:
            int32, one for each id.
        """
        values = raw_ids if isinstance(raw_ids, pl.Series) else pl.Series(list(raw_ids))
        values = values.cast(self.ids.dtype, strict=False)
        rows = np.zeros(len(values), dtype=np.int32)
        for before, ids in ((0, self.ids[: self.warm]), (self.warm, self.ids[self.warm :])):
            if not len(ids):
                continue
            # A part at a time, so that what is needed beside the result stays small.
            for start in range(0, len(values), ENCODED_AT_A_TIME):
                part = values.slice(start, ENCODED_AT_A_TIME)
                inside = np.minimum(ids.search_sorted(part).to_numpy(), len(ids) - 1)
                known = (ids.gather(inside) == part).fill_null(False).to_numpy()
                rows[start : start + len(part)][known] = before + inside[known] + 1
        return rows

    def decode(self, rows: NDArray[np.integer[Any]]) -> pl.Series:
        """Raw ids of row numbers; null for the unknown row."""
        position = pl.Series(np.asarray(rows, dtype=np.int64) - 1)
        return self.ids.gather(position.replace(-1, None))

    def restricted_to(self, rows: NDArray[np.int32]) -> tuple["Vocabulary", NDArray[np.int32]]:
        """The vocabulary of only those ids whose rows occur in `rows`.

        Args:
            rows: row numbers of this vocabulary, repeats allowed.

        Returns:
            The smaller vocabulary, and for each old row number the new one (int32; the unknown
            row where the id is left out).
        """
        seen = np.zeros(len(self), dtype=bool)
        seen[rows] = True
        seen[UNKNOWN_ROW] = False
        new_row = np.where(seen, np.cumsum(seen), UNKNOWN_ROW).astype(np.int32)
        return Vocabulary(self.ids.filter(pl.Series(seen[1:]))), new_row

    def state(self) -> torch.Tensor | list[str]:
        """The ids as a checkpoint can hold them: int64 [known ids], or a list of strings."""
        if self.ids.dtype == pl.Int64:
            return torch.from_numpy(self.ids.to_numpy().copy())
        ids: list[str] = self.ids.to_list()
        return ids

    @classmethod
    def from_state(cls, state: torch.Tensor | list[str]) -> Self:
        """The vocabulary that `state` came from."""
        ids = state.cpu().numpy() if isinstance(state, torch.Tensor) else state
        return cls(pl.Series(ids, dtype=pl.Int64 if isinstance(state, torch.Tensor) else pl.String))

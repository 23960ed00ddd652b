"""Which effect of time a rating has: that of a user or an item in a period."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightning_collab.data.vocabulary import UNKNOWN_ROW


@dataclass(frozen=True, eq=False)
class TimeEffect:
    """The pairs of user (or item) and period that training ratings have.

    A period is `days` days long; the first one begins with the day of the first training rating.

    Attributes:
        name: of the effect, by which the config names it.
        of: whose effect it is.
        days: length of a period.
        first_day: days since 1970 at which period 0 begins.
        periods: how many there are up to the last training rating.
        keys: int64 [known pairs], ascending: row * periods + period.
    """

    name: str
    of: Literal["users", "items"]
    days: int
    first_day: int
    periods: int
    keys: NDArray[np.int64]

    @classmethod
    def fit(
        cls,
        name: str,
        of: Literal["users", "items"],
        days: int,
        rows: NDArray[np.int32],
        day: NDArray[np.int32],
    ) -> "TimeEffect":
        """The pairs of some training ratings.

        Args:
            name: of the effect.
            of: whose rows these are.
            days: length of a period.
            rows: int32 [n], rows of users or of items, above 0.
            day: int32 [n], days since 1970.
        """
        first_day = int(day.min())
        period = (day.astype(np.int64) - first_day) // days
        periods = int(period.max()) + 1
        return cls(name, of, days, first_day, periods, np.unique(rows * periods + period))

    def rows(
        self, user_or_item_rows: NDArray[np.integer[Any]], day: NDArray[np.integer[Any]]
    ) -> NDArray[np.int64]:
        """Which known pair each rating is of.

        Args:
            user_or_item_rows: int [n], rows of users or of items, as `of` says.
            day: int [n], days since 1970.

        Returns:
            int64 [n], position of the pair in `keys` plus 1; 0 where it is not known.
        """
        period = (np.asarray(day, dtype=np.int64) - self.first_day) // self.days
        rows = np.asarray(user_or_item_rows, dtype=np.int64)
        keys = rows * self.periods + period
        inside = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = (
            (self.keys[inside] == keys)
            & (period >= 0)
            & (period < self.periods)
            & (rows != UNKNOWN_ROW)
        )
        return np.where(known, inside + 1, 0)

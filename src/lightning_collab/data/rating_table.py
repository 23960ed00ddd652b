"""All ratings of a data set as columns, each pair once, with what is known of users and items.

Also a sum of all that a table holds, so that the same ratings are known again.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.config.data import Duplicates
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

# Of data without ratings: 0 is a pair that was not chosen, which no row is.
IMPLICIT_RANGE = (0.0, 1.0)
# Of columns on disk, rows that are looked at together by what goes through all of them.
AT_A_TIME = 1 << 22


@dataclass(frozen=True, eq=False)
class RatingTable:
    """Ratings in the order of the file; 12 bytes each, without timestamps and weights.

    Attributes:
        name: of the data set.
        users: int32 [n], rows of `user_vocabulary`, all above 0.
        items: int32 [n], rows of `item_vocabulary`, all above 0.
        ratings: float32 [n], in rating units.
        timestamps: int64 [n], seconds since 1970 (UTC); None where the source has none.
        user_vocabulary: raw user ids.
        item_vocabulary: raw item ids.
        rating_range: lowest and highest rating that the scale allows.
        user_features: one row for each user that the source describes, column `user` first;
            `age`, `gender`, `occupation` where the release has them.
        item_features: one row for each item that the source describes, column `item` first;
            `title`, `year` (Int32, null where unknown), `genres` (list of strings).
        parts: parts that come with the source, by name, as int32 row numbers: the test part of each
            official fold, or the `train`, `val` and `test` of a file that says so itself.
        implicit: True: data without ratings, in which each row is one choice, such as a click or a
            purchase; `ratings` are then all 1, and `rating_range` is (0, 1).
        weights: float32 [n], finite and above 0: how much each row counts, such as plays or hours;
            None where the source has none.
    """

    name: str
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]
    timestamps: NDArray[np.int64] | None
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    rating_range: tuple[float, float]
    user_features: pl.DataFrame | None = None
    item_features: pl.DataFrame | None = None
    parts: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)
    implicit: bool = False
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Number of ratings."""
        return len(self.ratings)

    @property
    def rows_called(self) -> str:
        """What its rows are, in messages."""
        return "interactions" if self.implicit else "ratings"

    @classmethod
    def of_checked(
        cls,
        frame: pl.DataFrame,
        *,
        name: str,
        rating_range: tuple[float, float] = IMPLICIT_RANGE,
        user_features: pl.DataFrame | None = None,
        item_features: pl.DataFrame | None = None,
        parts: Mapping[str, NDArray[np.int32]] | None = None,
    ) -> "RatingTable":
        """A table from columns `user` and `item` and, where there are, `rating` and others.

        Nothing is checked: a frame of a user's own is one for `RatingDataModule.from_frame`.

        Args:
            frame: raw ids (Int64 or String), `rating` (any float; none: data without ratings),
                `timestamp` (seconds since 1970, Int64) and `weight` (any float).
            name: of the data set.
            rating_range: lowest and highest rating that the scale allows; of data without ratings
                what it is by default.
            user_features: as the attribute.
            item_features: as the attribute.
            parts: as the attribute.
        """
        user_vocabulary = Vocabulary.of(frame["user"])
        item_vocabulary = Vocabulary.of(frame["item"])
        implicit = "rating" not in frame.columns
        ratings = pl.repeat(1, len(frame), eager=True) if implicit else frame["rating"]
        return cls(
            name=name,
            users=user_vocabulary.encode(frame["user"]),
            items=item_vocabulary.encode(frame["item"]),
            ratings=ratings.cast(pl.Float32).to_numpy(),
            timestamps=frame["timestamp"].to_numpy() if "timestamp" in frame.columns else None,
            user_vocabulary=user_vocabulary,
            item_vocabulary=item_vocabulary,
            rating_range=rating_range,
            user_features=user_features,
            item_features=item_features,
            parts=parts or {},
            implicit=implicit,
            weights=(
                frame["weight"].cast(pl.Float32).to_numpy() if "weight" in frame.columns else None
            ),
        )

    def only(self, kept: NDArray[np.integer[Any]]) -> "RatingTable":
        """Some of the rows, with the same vocabularies; parts follow them.

        Args:
            kept: row numbers in ascending order, none twice.
        """
        new_row = np.full(len(self), -1, dtype=np.int32)
        new_row[kept] = np.arange(len(kept), dtype=np.int32)
        parts = {name: new_row[rows] for name, rows in self.parts.items()}
        return replace(
            self,
            users=self.users[kept],
            items=self.items[kept],
            ratings=self.ratings[kept],
            timestamps=None if self.timestamps is None else self.timestamps[kept],
            weights=None if self.weights is None else self.weights[kept],
            parts={name: rows[rows >= 0] for name, rows in parts.items()},
        )


def with_one_rating_each(
    table: RatingTable, policy: Duplicates, advice: str | None = None
) -> RatingTable:
    """A table in which each user has rated each item at most once.

    Args:
        table: all ratings.
        policy: `error`: refuse the table; `last`: keep the last rating in time, of the same time
            or without times the last in the file; `mean`: the last one's place, with the mean of
            the ratings and the sum of the weights. Of data without ratings the last one is kept
            whatever the policy, with the sum of the weights, and the log says how many there were.
        advice: what to do, for the error message; None: there is no other policy to choose.

    Returns:
        The table itself where there is nothing to do.

    Raises:
        DataError: there are several ratings, and the policy is `error`.
    """
    pair = table.users.astype(np.int64) * len(table.item_vocabulary) + table.items
    ordered = np.sort(pair)
    repeats = int((ordered[1:] == ordered[:-1]).sum())
    if not repeats:
        return table
    if policy == "error" and not table.implicit:
        example = ordered[np.flatnonzero(ordered[1:] == ordered[:-1])[0]]
        user, item = divmod(int(example), len(table.item_vocabulary))
        what_to_do = "" if advice is None else f"; {advice} to make one of them"
        raise DataError(
            f"{table.name}: {repeats} ratings are of an item that the same user has rated already "
            f"(first: user {table.user_vocabulary.decode(np.array([user]))[0]!r}, item "
            f"{table.item_vocabulary.decode(np.array([item]))[0]!r}){what_to_do}"
        )
    times = table.timestamps if table.timestamps is not None else np.zeros(len(pair), np.int8)
    by_pair = np.lexsort((np.arange(len(pair)), times, pair))
    last = np.append(pair[by_pair][1:] != pair[by_pair][:-1], True)
    which = np.cumsum(last) - last
    ratings, weights = table.ratings, table.weights
    if policy == "mean":
        means = np.bincount(which, ratings[by_pair]) / np.bincount(which)
        ratings = ratings.copy()
        ratings[by_pair[last]] = means
    if weights is not None and (table.implicit or policy == "mean"):
        sums = np.bincount(which, weights[by_pair])
        weights = weights.copy()
        weights[by_pair[last]] = sums
    one_each = replace(table, ratings=ratings, weights=weights).only(np.sort(by_pair[last]))
    if table.implicit:
        log.info(
            "%s: %d of %d interactions repeat an earlier one of the same user and item; %d pairs "
            "are left%s%s",
            *(table.name, repeats, len(table), len(one_each)),
            "" if table.timestamps is None else ", each with its last time",
            "" if table.weights is None else ", each with the sum of its weights",
        )
    return one_each


# Integers up to which a Float64 holds each.
EXACT = 2**53
TEXTS_AT_A_TIME = 1 << 20


def fingerprint(table: RatingTable) -> str:
    """The SHA-256 of a table's values, in hexadecimal.

    It changes with any id, rating and weight (as Float32), time, part or feature, with the order of
    rows and with whether there are ratings,
    and not with the order of columns, the library that the values came in, or the width of numbers.

    Args:
        table: any.
    """
    total = hashlib.sha256()

    def add(name: str, values: pl.Series | NDArray[Any]) -> None:
        total.update(f"{name} {len(values)}\0".encode())
        _add(total, values if isinstance(values, pl.Series) else pl.Series(values))

    for side, rows, vocabulary, features in (
        ("user", table.users, table.user_vocabulary, table.user_features),
        ("item", table.items, table.item_vocabulary, table.item_features),
    ):
        add(f"{side} ids", vocabulary.ids)
        add(f"{side}s", rows)
        for name in sorted(features.columns if features is not None else ()):
            assert features is not None
            add(f"{side} feature {name}", features[name])
    if table.implicit:
        total.update(b"no ratings\0")
    else:
        add("ratings", table.ratings)
    if table.weights is not None:
        add("weights", table.weights)
    if table.timestamps is not None:
        add("timestamps", table.timestamps)
    for name in sorted(table.parts):
        add(f"part {name}", table.parts[name])
    return total.hexdigest()


def _add(total: Any, values: pl.Series) -> None:
    """Values of a column in a form that no version of a library decides."""
    kind = values.dtype
    if kind in (pl.Categorical, pl.Enum):
        values, kind = values.cast(pl.String), pl.String()
    if values.has_nulls():
        total.update(b"null" + np.packbits(values.is_null().to_numpy()).tobytes())
        values = values.drop_nulls()
    if kind in (pl.String, pl.Binary):
        _add_texts(total, values.cast(pl.Binary))
    elif kind in (pl.List, pl.Array):
        lists = values if kind == pl.List else values.arr.to_list()
        _add(total, lists.list.len().cast(pl.Int64))
        _add(total, lists.filter(lists.list.len() > 0).explode())
    elif kind == pl.Struct:
        for field in sorted(values.struct.fields):
            total.update(f"{field}\0".encode())
            _add(total, values.struct.field(field))
    elif kind == pl.Date or kind == pl.Datetime:
        total.update(b"time" + _bytes(values.cast(pl.Datetime("us")).to_physical()))
    elif (kind.is_integer() or kind == pl.Boolean) and _fit(values):
        total.update(b"whole" + _bytes(values.cast(pl.Int64)))
    elif kind.is_float():
        numbers = values.cast(pl.Float64)
        whole = ((numbers == numbers.floor()) & (numbers.abs() < EXACT)).all()
        total.update(b"whole" + _bytes(numbers.cast(pl.Int64)) if whole else _bytes(numbers))
    else:
        _add_texts(total, pl.Series([repr(each).encode() for each in values], dtype=pl.Binary))


def _fit(integers: pl.Series) -> bool:
    """Whether an Int64 holds each."""
    return not integers.cast(pl.Int64, strict=False).has_nulls()


def _add_texts(total: Any, texts: pl.Series) -> None:
    total.update(b"text" + _bytes(texts.bin.size().cast(pl.Int64)))
    for start in range(0, len(texts), TEXTS_AT_A_TIME):
        total.update(b"".join(texts.slice(start, TEXTS_AT_A_TIME)))


def _bytes(numbers: pl.Series) -> bytes:
    array = numbers.to_numpy()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()

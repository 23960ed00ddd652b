"""A sum of all that a table holds, so that the same ratings are known again."""

import hashlib
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.data.rating_table import RatingTable

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

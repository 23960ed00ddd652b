"""Small tables of ratings, drawn by hypothesis or written down."""

import numpy as np
import polars as pl
from hypothesis import strategies as st

from lightning_collab.data.rating_table import RatingTable


@st.composite
def tables(draw):
    pairs = st.tuples(st.integers(1, 6), st.integers(1, 9))
    pairs = draw(st.lists(pairs, min_size=1, max_size=40, unique=True))
    users, items = zip(*pairs, strict=True)
    times = draw(st.lists(st.integers(0, 9), min_size=len(pairs), max_size=len(pairs)))
    # A source never names a part without rows.
    given_test = np.unique(draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1)))
    return table_of(users, items, times, {"u1": given_test, "test": given_test})


def table_of(users, items, times, parts=None):
    frame = pl.DataFrame(
        {"user": users, "item": items, "rating": [3.0] * len(users), "timestamp": times},
        schema={"user": pl.Int64, "item": pl.Int64, "rating": pl.Float64, "timestamp": pl.Int64},
    )
    parts = {name: rows.astype(np.int32) for name, rows in (parts or {}).items()}
    return RatingTable.of_checked(frame, name="made_up", rating_range=(1.0, 5.0), parts=parts)

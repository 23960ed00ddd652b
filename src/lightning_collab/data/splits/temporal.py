"""`split=temporal`: the past trains, the future tests."""

from datetime import UTC, date, datetime

import numpy as np

from lightning_collab.config.split import TemporalSplitConfig
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.splits.split_rows import Rows, SplitRows, check_share, divided
from lightning_collab.data.splits.within_users import first_of_each_user, share_of_each
from lightning_collab.errors import DataError


def split_in_time(table: RatingTable, config: TemporalSplitConfig) -> SplitRows:
    """The last rows are test, those before them val; ratings of the same second in file order.

    Args:
        table: all ratings, with timestamps.
        config: the `split` section.

    Raises:
        DataError: a part that the config asks for would have no rows, or the table has no
            timestamps.
    """
    order = latest_first(table)
    if config.by == "user":
        test, rest = first_of_each_user(table, order, share_of_each(config.test))
        check_share(len(test), len(order), config.test, "split.test")
        val, train = first_of_each_user(table, rest, share_of_each(config.val))
        check_share(len(val), len(rest), config.val, "split.val")
        return SplitRows(train, val, test)
    test, rest = _latest(table, order, config.test, config.test_from, "test")
    val, train = _latest(table, rest, config.val, config.val_from, "val")
    return SplitRows(train, val, test)


def latest_first(table: RatingTable) -> Rows:
    """All rows of a table from the last in time to the first.

    Args:
        table: with timestamps.

    Raises:
        DataError: it has none.
    """
    if table.timestamps is None:
        raise DataError(f"{table.name} has no timestamps to split by")
    order = np.argsort(table.timestamps, kind="stable")[::-1]
    return order.astype(np.int32) if len(table) < 2**31 else order


def _latest(
    table: RatingTable, rows: Rows, share: float, first_day: date | None, part: str
) -> tuple[Rows, Rows]:
    """The rows from a day on, or the last share of them; and the rows before."""
    if first_day is None:
        return divided(rows, share, f"split.{part}")
    assert table.timestamps is not None
    start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC).timestamp()
    # `rows` is in descending order of time.
    count = int(np.searchsorted(-table.timestamps[rows], -start, side="right"))
    if count in (0, len(rows)):
        first, last = (
            datetime.fromtimestamp(int(seconds), UTC).date()
            for seconds in (table.timestamps.min(), table.timestamps.max())
        )
        raise DataError(
            f"split.{part}_from={first_day} leaves {'no rating' if count == 0 else 'only ratings'} "
            f"on or after that day; {table.name} is from {first} to {last}"
        )
    return rows[:count], rows[count:]

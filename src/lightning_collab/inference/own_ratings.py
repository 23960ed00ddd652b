"""A new person's ratings, as they are given on the command line or in a file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from lightning_collab.data.existing_file import check_file
from lightning_collab.data.text_columns import READ_ERRORS
from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.errors import DataError, NotFoundError
from lightning_collab.inference.pairs_file import USUAL_NAMES
from lightning_collab.inference.raw_ids import rows_of_ids
from lightning_collab.inference.titles import row_of_title

if TYPE_CHECKING:
    from lightning_collab.inference.trained_run import TrainedRun

log = logging.getLogger(__name__)

NAMED = 5
"""Unknown items that a warning names."""


def read_own_ratings(run: TrainedRun, path: Path) -> dict[Any, float]:
    """The ratings in a file of one person.

    Args:
        run: the trained run.
        path: CSV with a first line of names, or Parquet: `rating`, and `item` (or `movieId` or so)
            or `title`, which is found as people type it.

    Returns:
        Raw item id -> rating. Items that the run does not know are left out, and that is said.

    Raises:
        DataError: the file is missing, empty or not readable, or has a rating that is no number.
        NotFoundError: the run knows none of the items.
    """
    table = _read(path)
    ratings = table[_column(table, path, ("rating",))].cast(pl.Float64, strict=False)
    if ratings.null_count():
        first = int(ratings.is_null().arg_max() or 0)
        raise DataError(f"{path}, row {first + 1} below the names: the rating is no number")
    name = _column(table, path, (*USUAL_NAMES["item"], "title"))
    by_title = name.lower() == "title"
    found: dict[Any, float] = {}
    unknown = []
    for raw, rating in zip(table[name].to_list(), ratings.to_list(), strict=True):
        try:
            row = (
                row_of_title(run, str(raw))
                if by_title
                else int(rows_of_ids(run.item_vocabulary, [raw])[0])
            )
        except NotFoundError as error:
            log.warning("%s", error)
            row = UNKNOWN_ROW
        if row == UNKNOWN_ROW:
            unknown.append(str(raw))
        else:
            found[run.item_vocabulary.ids[row - 1]] = rating
    if not found:
        raise NotFoundError(
            f"{path}: the run knows none of the {len(table)} items in column {name!r}; its ids "
            f"are like {', '.join(map(str, run.item_vocabulary.ids.head(3).to_list()))}"
        )
    if unknown and not by_title:
        more = ", ..." if len(unknown) > NAMED else ""
        log.warning(
            "%s: %d of %d items are not known to the run and left out: %s%s",
            path,
            len(unknown),
            len(table),
            ", ".join(unknown[:NAMED]),
            more,
        )
    return found


def _read(path: Path) -> pl.DataFrame:
    check_file(path)
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pl.read_parquet(path, glob=False)
        else:
            table = pl.read_csv(path, infer_schema=False, glob=False)
    except pl.exceptions.NoDataError:
        raise DataError(f"{path}: the file is empty") from None
    except READ_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read: {reason}") from error
    if table.is_empty():
        raise DataError(f"{path}: no rows")
    return table


def _column(table: pl.DataFrame, path: Path, names: tuple[str, ...]) -> str:
    for name in table.columns:
        if name.lower().replace("_", "") in names:
            return name
    raise DataError(
        f"{path}: no column named {' or '.join(names)}; it has "
        f"{', '.join(map(repr, table.columns))}"
    )

"""Item and user metadata, in files or frames of the user's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from lightning_collab.data.column_names import usual_columns
from lightning_collab.data.column_rules import Place, Rule, typed_columns
from lightning_collab.data.files.tables import read_table
from lightning_collab.data.sources.movielens import release_year
from lightning_collab.errors import DataError


def read_side_files(
    paths: Sequence[str],
    side: str,
    columns: Mapping[str, str],
    kinds: Mapping[str, pl.DataType],
    *,
    named: bool = True,
) -> pl.DataFrame | None:
    """Features of users or items, as `RatingTable` has them.

    Args:
        paths: of text, JSON lines or Parquet with one line for each; empty: there is none.
        side: `user` or `item`.
        columns: of the ratings, by our names; the id has the same name here as there.
        kinds: of the ids of each side, Int64 or String.
        named: whether the columns of the ratings have names.

    Returns:
        The id under the name of the side, then the other columns under their own names; `genres`
        such as `Drama|War` as a list, and `year` from the title where there is no such column. Of
        several files an id has what each says of it, and nulls where one does not know it.

    Raises:
        DataError: a file is missing or cannot be read, an id does not parse or comes twice, or two
            files have a column of the same name.
    """
    whole: pl.DataFrame | None = None
    for path in map(Path, paths):
        table = _read_side_file(path, named, side, columns, kinds)
        if whole is None:
            whole = table
            continue
        for each in table.columns[1:]:
            if each in whole.columns:
                raise DataError(
                    f"{path}: column {each!r} is also in another file about {side}s; remove it "
                    "from one of them"
                )
        whole = whole.join(table, on=side, how="full", coalesce=True, maintain_order="left_right")
    return whole


def _read_side_file(
    path: Path, named: bool, side: str, columns: Mapping[str, str], kinds: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    id_kind = kinds[side]
    # Where the ratings have no names, the name of a column here is ours.
    theirs = columns[side] if named else side
    names = list(dict.fromkeys((theirs, side)))

    def of_ids(there: Sequence[str]) -> list[str]:
        return [name for name in names if name in there] or usual_columns(side, there)

    frame = read_table(path, as_text=of_ids if id_kind == pl.String else None)
    names = of_ids(frame.columns) or names
    return side_table(frame, names, side, id_kind, Place.rows(path))


def side_table(
    frame: pl.DataFrame, names: Sequence[str], side: str, id_kind: pl.DataType, place: Place
) -> pl.DataFrame:
    """Features of users or items, as `RatingTable` has them.

    Args:
        frame: one row for each; the id, and any other columns.
        names: which the id may have, the likeliest first.
        side: `user` or `item`.
        id_kind: Int64 or String.
        place: where the rows come from.

    Returns:
        As of `read_side_files`.

    Raises:
        DataError: there is no id, or one is wrong or comes twice; a column holds no plain values.
    """
    name = next((each for each in names if each in frame.columns), None)
    if name is None:
        known = ", ".join(map(repr, frame.columns))
        raise DataError(f"{place.name}: no column {names[0]!r}; it has {known}")
    others = [each for each in frame.columns if each not in (name, side)]
    for each in others:
        if frame.schema[each] == pl.Object:
            raise DataError(f"{place.name}: the values of column {each!r} are of no type of polars")
    rule = Rule.text_id(side) if id_kind == pl.String else Rule.whole_id(side)
    typed = typed_columns(frame.select(pl.col(name).alias(side)), {side: id_kind}, [rule], place)
    ids = typed[side]
    if ids.is_duplicated().any():
        raise DataError(f"{place.name}: {side} {ids.filter(ids.is_duplicated())[0]!r} comes twice")
    frame = frame.select(ids, *others)
    if frame.schema.get("genres") == pl.String:
        frame = frame.with_columns(pl.col("genres").str.split("|").fill_null([]))
    if "year" in others:
        frame = frame.with_columns(pl.col("year").cast(pl.Int32, strict=False))
    elif frame.schema.get("title") == pl.String:
        frame = frame.with_columns(year=release_year(pl.col("title")))
    return frame

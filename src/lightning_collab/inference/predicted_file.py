"""Predictions for a file of pairs, however long it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from lightning_collab.errors import ConfigError
from lightning_collab.inference.pairs_file import PairsFile
from lightning_collab.inference.table_stream import write_stream

if TYPE_CHECKING:
    from lightning_collab.inference.trained_run import TrainedRun


@dataclass
class Predicted:
    """What became of a file of pairs.

    Attributes:
        pairs: rows written.
        unknown_users: how many of them are of a user without training ratings.
        unknown_items: how many of them are of an item without training ratings.
    """

    pairs: int = 0
    unknown_users: int = 0
    unknown_items: int = 0


def predict_file(
    run: TrainedRun,
    pairs: PairsFile,
    output: Path,
    progress: Callable[[int], None] = lambda rows: None,
) -> Predicted:
    """Write the rows of a file with the model's predictions beside them.

    A block of rows is in memory at a time. The columns of `TrainedRun.predict` come after those of
    the file, which stay as they are.

    Args:
        run: the trained run.
        pairs: the file.
        output: ends with `.csv` or `.parquet`.
        progress: told the number of rows after each block.

    Raises:
        ConfigError: the file has a column of a name that the predictions have.
        DataError: the file cannot be read to its end.
        StorageError: the predictions cannot be written.
    """
    schema = predicted_schema(run, pairs)
    done = Predicted()

    def blocks() -> Iterator[pl.DataFrame]:
        for block in pairs.blocks():
            times = pairs.columns.get("timestamp")
            found = run.predict(
                block[pairs.columns["user"]],
                block[pairs.columns["item"]],
                None if times is None else block[times].cast(pl.Float64, strict=False),
            )
            done.pairs += len(found)
            done.unknown_users += len(found) - int(found["known_user"].sum())
            done.unknown_items += len(found) - int(found["known_item"].sum())
            progress(len(found))
            yield pl.concat([block, found], how="horizontal")

    write_stream(output, blocks(), schema)
    return done


def predicted_schema(run: TrainedRun, pairs: PairsFile) -> dict[str, Any]:
    """Names and types of the columns of the output.

    Args:
        run: the trained run.
        pairs: the file.

    Raises:
        ConfigError: the file has a column of a name that the predictions have.
    """
    predicted = run.predict([None], [None]).schema
    for name in predicted:
        if name in pairs.schema:
            raise ConfigError(
                f"{pairs.path}: a column is named {name!r} already, as one of the output is; "
                "rename it"
            )
    return {**pairs.schema, **predicted}

"""A whole table with columns of any names: of users, of items, or of one user's ratings."""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from lightning_collab.data.files.json_lines import read_json_lines
from lightning_collab.data.files.kinds import HEAD, check_file, is_json_lines, is_parquet
from lightning_collab.data.files.text_columns import READ_ERRORS
from lightning_collab.data.files.text_format import OpenText, TextSettings, found_format
from lightning_collab.data.files.unpacked import plain_text
from lightning_collab.errors import DataError

# Some of the names of columns.
ColumnsOf = Callable[[Sequence[str]], Collection[str]]


def read_table(
    path: Path, settings: TextSettings | None = None, *, as_text: ColumnsOf | None = None
) -> pl.DataFrame:
    """All columns of a file of text, JSON lines or Parquet, of the types that their values show.

    Args:
        path: of the file; text has a first line of names unless it is said that it has none.
        settings: how the text stands; None: that is found.
        as_text: of the names of a text file those of columns that are kept as they are written,
            since 007 would lose its zeros; None: none.

    Raises:
        DataError: the file is missing, empty, of a kind that is not read, or does not parse.
    """
    check_file(path)
    settings = settings or TextSettings(header=True)
    try:
        if is_parquet(path):
            return pl.read_parquet(path, glob=False)
        with ExitStack() as stack:
            text = stack.enter_context(plain_text(path, settings.encoding))
            with text.path.open("rb") as file:
                head = file.read(HEAD)
            if is_json_lines(head):
                return read_json_lines(text)
            return _read(found_format(text, settings), as_text)
    except pl.exceptions.NoDataError:
        raise DataError(f"{path}: the file is empty") from None
    except READ_ERRORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read: {reason}") from error


def _read(opened: OpenText, as_text: ColumnsOf | None) -> pl.DataFrame:
    text = opened.format
    kept = () if as_text is None else as_text(opened.first)
    return pl.read_csv(
        opened.path,
        separator=text.separator,
        has_header=text.has_header,
        quote_char=text.quote_char,
        decimal_comma=text.decimal_comma,
        schema_overrides=dict.fromkeys(kept, pl.String()),
        infer_schema_length=None,
        try_parse_dates=False,
        glob=False,
    )

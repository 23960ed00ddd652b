"""How values stand in a text file: as is said, and else as its first thousand lines show."""

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_collab.data.column_names import USUAL_NAMES, plain
from lightning_collab.data.files.kinds import Encoding, PlainText, plain_text
from lightning_collab.data.files.quotes import lines_are_alike, look_at_quotes
from lightning_collab.errors import DataError

log = logging.getLogger(__name__)

SAMPLE_ROWS, SAMPLE_BYTES = 1000, 1 << 20
# The likeliest first, where several fit as well; a blank only where none of the others fits.
CANDIDATES = ("\t", ";", "|", ",")
# So many of the lines have as many values as most have.
MOSTLY = 0.9
NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?|nan|inf|-inf", re.IGNORECASE)
WITH_COMMA = re.compile(r"[-+]?\d+,\d+")
ALL_NAMES = frozenset(name for names in USUAL_NAMES.values() for name in names)


@dataclass(frozen=True)
class TextSettings:
    """What is said of a text file; `auto`: it is found.

    Attributes:
        delimiter: one character between two values, or `auto`.
        header: whether the first line names the columns.
        encoding: of the text.
        quote: what encloses a value that contains the delimiter; None: nothing does.
        decimal: the sign before the decimals of a number.
        names: of columns that the first line has if it names any.
    """

    delimiter: str = "auto"
    header: bool | Literal["auto"] = "auto"
    encoding: Encoding = "auto"
    quote: str | None = "auto"
    decimal: Literal["auto", "point", "comma"] = "auto"
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextFormat:
    """How values stand in a text file.

    Attributes:
        separator: one character between two values.
        has_header: whether the first line names the columns.
        encoding: of the file, as Python calls it.
        quote_char: what encloses a value that contains the separator; None: nothing does.
        decimal_comma: whether decimals come after a comma.
    """

    separator: str
    has_header: bool
    encoding: str = "utf8"
    quote_char: str | None = None
    decimal_comma: bool = False


@dataclass(frozen=True, eq=False)
class OpenText:
    """A text file that has been looked at, and can be read while it is open.

    Attributes:
        name: of the file that was named, for messages.
        path: of its text in UTF-8.
        format: of that text.
        sample: values of the first rows, the header not among them.
        first: values of the first line.
        continued: numbers of lines that continue the record of the line before.
    """

    name: Path
    path: Path
    format: TextFormat
    sample: Sequence[Sequence[str]]
    first: Sequence[str]
    continued: Sequence[int] = ()

    @property
    def taken(self) -> str:
        """The format in words, for the log."""
        text = self.format
        quoted = "" if text.quote_char == '"' else f", quotes {text.quote_char or 'are text'}"
        return (
            f"delimiter {called(text.separator)}, "
            f"{'a header' if text.has_header else 'no header'}"
            f"{', decimal comma' if text.decimal_comma else ''}{quoted}"
        )


def called(separator: str) -> str:
    """A character between values, as a setting names it: one that a shell does not change."""
    return {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe", " ": "space"}.get(
        separator, separator
    )


def open_text(path: Path, settings: TextSettings, stack: ExitStack) -> OpenText:
    """Open a text file and find how its values stand.

    Args:
        path: of the file.
        settings: what is said of it.
        stack: closes it, which removes temporary files.

    Raises:
        DataError: as of `plain_text`; or the quotes in it can be read in no way that keeps each
            line, and the message names the line and the setting.
    """
    text = stack.enter_context(plain_text(path, settings.encoding))
    return found_format(text, settings)


def found_format(text: PlainText, settings: TextSettings) -> OpenText:
    """Find how the values of a text stand.

    Args:
        text: in UTF-8.
        settings: what is said of it.

    Raises:
        DataError: as of `open_text`.
    """
    with text.path.open("rb") as file:
        content = file.read(SAMPLE_BYTES)
    lines = content.decode("utf-8-sig", errors="replace")
    if len(content) == SAMPLE_BYTES:
        lines = lines[: lines.rfind("\n") + 1] or lines
    quote = '"' if settings.quote == "auto" else settings.quote
    separator = settings.delimiter
    if separator == "auto":
        separator = _separator(lines, quote)
    quote, continued = _quotes(text, separator, settings)
    records = _records(lines, separator, quote)
    if not records:
        raise DataError(f"{text.name}: the file is empty")
    header = settings.header
    if header == "auto":
        header = _names_columns(records, settings.names)
    sample = records[1:] if header else records
    comma = settings.decimal == "comma"
    if settings.decimal == "auto":
        comma = separator != "," and _has_decimal_commas(sample)
    return OpenText(
        text.name,
        text.path,
        TextFormat(separator, header, "utf8", quote, comma),
        sample,
        records[0],
        continued,
    )


def csv_reader(lines: Iterable[str], separator: str, quote: str | None) -> Any:
    """Python's reader, which is slow but tells lines.

    Args:
        lines: of text.
        separator: between two values.
        quote: around a value; None: nothing is.
    """
    if quote is None:
        return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=separator, quotechar=quote)


def _records(lines: str, separator: str, quote: str | None) -> list[list[str]]:
    """The first records that are not blank."""
    reader = csv_reader(io.StringIO(lines, newline=""), separator, quote)
    records: list[list[str]] = []
    try:
        for record in reader:
            if any(record):
                records.append(record)
            if len(records) > SAMPLE_ROWS:
                break
    except csv.Error:
        # A value beyond any bound, or a lone carriage return: polars says what is wrong.
        pass
    return records


def _separator(lines: str, quote: str | None) -> str:
    scores = {each: _fit(lines, each, quote) for each in (*CANDIDATES, " ")}
    best = max(CANDIDATES, key=lambda each: scores[each])
    if scores[best] == (0, 0, 0, 0) and scores[" "][0]:
        return " "
    return best if scores[best] != (0, 0, 0, 0) else ","


def _fit(lines: str, separator: str, quote: str | None) -> tuple[int, int, float, int]:
    """How well a separator fits: most lines alike, usual names, how many alike, columns."""
    fits = []
    for enclosed in {quote, None}:
        records = _records(lines, separator, enclosed)
        if not records or len(records[0]) < 2:
            continue
        width, count = Counter(map(len, records)).most_common(1)[0]
        share = count / len(records)
        names = sum(plain(each) in ALL_NAMES for each in records[0])
        fits.append((int(share >= MOSTLY and width > 1), names, round(share, 2), width))
    return max(fits, default=(0, 0, 0, 0))


def _quotes(
    text: PlainText, separator: str, settings: TextSettings
) -> tuple[str | None, Sequence[int]]:
    """What encloses values, and the lines that continue a record."""
    if settings.quote is None:
        return None, ()
    quote = '"' if settings.quote == "auto" else settings.quote
    found = look_at_quotes(text.path, separator, quote)
    if found.fault is None and found.swallowing is None:
        return quote, found.continued
    line = found.swallowing if found.fault is None else found.fault[0]
    what = "quotes enclose whole lines" if found.fault is None else found.fault[1]
    if settings.quote == "auto" and lines_are_alike(text.path, separator):
        log.info(
            "%s, line %d: %s; quotes are taken as text, so that each line is one row "
            "(data.quote=null)",
            *(text.name, line, what),
        )
        return None, ()
    if found.fault is None:
        log.warning(
            "%s, line %d: %s, which make one row; if they are text, set data.quote=null",
            *(text.name, line, what),
        )
        return quote, found.continued
    raise DataError(
        f"{text.name}, line {line}: {what}. If quotes are text in this file, set data.quote=null "
        '(quote=None in Python); else double each quote inside a value ("")'
    )


def is_number(value: str) -> bool:
    """Whether a text is a number, with a point or a comma before its decimals."""
    return NUMBER.fullmatch(value.strip()) is not None


def _names_columns(records: Sequence[Sequence[str]], names: Sequence[str]) -> bool:
    """Whether the first line names columns: by usual names, else since it has no number."""
    first = records[0]
    usual = sum(plain(each) in ALL_NAMES for each in first)
    numbers = sum(map(is_number, first))
    return usual > 1 or not numbers or any(name in first for name in names)


def _has_decimal_commas(sample: Sequence[Sequence[str]]) -> bool:
    """Whether a column has numbers with a comma, and nothing but numbers."""
    for values in zip(*sample, strict=False):
        there = [each.strip() for each in values if each.strip()]
        if any(map(WITH_COMMA.fullmatch, there)) and all(map(is_number, there)):
            return True
    return False

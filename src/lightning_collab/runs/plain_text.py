"""Text from data files, made harmless where it is shown: in a terminal and in a spreadsheet."""

import re
import unicodedata

import polars as pl
from rich.text import Text

# Marks that turn round the order in which the text after them is shown.
_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NOT_SHOWN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_FORMULA = r"^[=+\-@\t\r\n]"
_NUMBER = r"^[+\-]?(\d+\.?\d*|\.\d+)([eE][+\-]?\d+)?$"

# What is in the names of a URL's parameters that nobody else should see.
SECRET = "passw|pwd|secret|token|key|credential"  # noqa: S105 (of names, not one itself)


def printable(value: object) -> str:
    """Text on one line that cannot move the cursor, change colors or turn round its direction.

    Args:
        value: a title, a name or an id; its `str` is taken.

    Returns:
        The text with white space as blanks and control characters (escape sequences begin with
        one) as the replacement character.
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def terminal_text(value: object) -> Text:
    """A cell of one of rich's tables: printable, and square brackets in it are no markup.

    Args:
        value: a title, a name or an id; its `str` is taken.
    """
    return Text(printable(value))


def without_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """A table that a spreadsheet opens without running anything that is in it.

    A text cell that begins with `=`, `+`, `-`, `@`, a tab or a line break gets an apostrophe in
    front, unless it is a number. This is what OWASP advises against "CSV injection".

    Args:
        frame: any table without nested columns.
    """
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(
        pl.when(pl.col(name).str.contains(_FORMULA) & ~pl.col(name).str.contains(_NUMBER))
        .then(pl.concat_str(pl.lit("'"), pl.col(name)))
        .otherwise(pl.col(name))
        .alias(name)
        for name in texts
    )


def _shown(character: str) -> str:
    if character in "\t\n\r":
        return " "
    if character in _DIRECTION or unicodedata.category(character) in _NOT_SHOWN:
        return "\ufffd"
    return character


def hidden(url: str) -> str:
    """A URL without its password, and without the secrets in its query.

    Args:
        url: possibly with a password in it.
    """
    before, mark, query = url.partition("?")
    if mark and "@" in query:
        # A password may have a question mark in it: up to the last @ it is all password.
        start, _, rest = url.rpartition("@")
        before, mark, query = rest.partition("?")
        before = f"{start}@{before}"
    before = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", before)
    named = rf"((?:^|&)[^=&]*(?:{SECRET})[^=&]*=)[^&]*"
    return before + mark + re.sub(named, r"\1***", query, flags=re.IGNORECASE)

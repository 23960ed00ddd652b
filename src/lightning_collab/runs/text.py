"""What is shown: text made harmless, lists that fit the terminal, and templates filled in."""

import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import polars as pl
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
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


# Wider than any table: what goes to a file or another program is neither cut nor wrapped.
UNBOUNDED = 10_000
GAP = 2
# Of a number with four digits behind the point.
NUMBER = 6
# Terminal columns under which a title is not squeezed.
LEAST_TITLE = 28


class Column(NamedTuple):
    """One column of a list of items.

    Attributes:
        head: its name.
        cells: texts; of an `extra` its parts, of which as many are shown as fit.
        kind: `whole`: ids and numbers, never cut; `title`: wraps at words; `extra`: gives way to
            all others, the last of them first served.
        right: whether it stands to the right.
        joined_by: what stands between the parts of an `extra`.
        least: terminal columns under which an `extra` says nothing.
    """

    head: str
    cells: Sequence[str] | Sequence[Sequence[str]]
    kind: Literal["whole", "title", "extra"] = "whole"
    right: bool = False
    joined_by: str = ", "
    least: int = 14

    @property
    def natural(self) -> int:
        """Terminal columns that it takes if nothing is cut."""
        return max(cell_len(self.head), *(cell_len(self._whole(each)) for each in self.cells), 1)

    def shown(self, width: int) -> list[Text]:
        """Its cells in so many terminal columns."""
        return [terminal_text(self._fitting(each, width)) for each in self.cells]

    def _whole(self, cell: str | Sequence[str]) -> str:
        return printable(cell if isinstance(cell, str) else self.joined_by.join(cell))

    def _fitting(self, cell: str | Sequence[str], width: int) -> str:
        if isinstance(cell, str):
            return cell
        for count in range(len(cell), 0, -1):
            text = self._whole(cell[:count])
            if cell_len(text) <= width:
                return text
        first = Text(self._whole(cell[:1]))
        first.truncate(width, overflow="ellipsis")
        return first.plain


def stdout_console() -> Console:
    """A console for results: as wide as the terminal, unbounded where they are piped."""
    console = Console()
    if console.is_terminal or console.is_jupyter or "COLUMNS" in os.environ:
        return console
    return Console(file=sys.stdout, width=UNBOUNDED)


def result_table(title: str | None = None) -> Table:
    """A table in the style of all of them, still without columns."""
    return Table(
        title=title,
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        padding=(0, GAP - 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def add_numbers(table: Table, head: str) -> None:
    """A column of numbers, which are never cut; its head may wrap at words."""
    longest = max(map(len, head.split()), default=0)
    table.add_column(head, justify="right", min_width=max(NUMBER, longest))


def item_table(columns: Sequence[Column], width: int) -> Table:
    """A list of items of at most so many terminal columns, if ids and numbers leave room.

    Args:
        columns: at most one of them a title.
        width: of the terminal.
    """
    widths = _widths(columns, width)
    table = result_table()
    shown = [(column, widths[column.head]) for column in columns if column.head in widths]
    for column, wide in shown:
        table.add_column(
            column.head,
            justify="right" if column.right else "left",
            no_wrap=column.kind != "title",
            width=wide,
            overflow="fold",
        )
    for cells in zip(*(column.shown(wide) for column, wide in shown), strict=True):
        table.add_row(*cells)
    return table


def _widths(columns: Sequence[Column], width: int) -> dict[str, int]:
    """Terminal columns of each column that is shown."""
    widths = {each.head: each.natural for each in columns if each.kind != "extra"}
    extras = [each for each in columns if each.kind == "extra"]
    title = next((each for each in columns if each.kind == "title"), None)
    room = width - sum(widths.values()) - GAP * (len(widths) - 1)
    if title is not None:
        natural = title.natural
        wanted = GAP + min(extras[-1].natural, extras[-1].least) if extras else 0
        if room < wanted:
            squeezed = max(min(natural, LEAST_TITLE), natural + room - wanted)
            if room + natural - squeezed >= wanted:
                widths[title.head] = squeezed
                room += natural - squeezed
        if room < 0:
            widths[title.head] = max(natural + room, cell_len(title.head), 1)
            room = 0
    for each in reversed(extras):
        wide = min(each.natural, room - GAP)
        if wide >= min(each.natural, each.least):
            widths[each.head] = wide
            room -= wide + GAP
    return widths


# Whose templates are parts of others'.
SHARED = "lightning_collab.runs"


def filled_in(package: str, template: str, *, escaped: bool = True, **content: Any) -> str:
    """A template with its content.

    Args:
        package: whose folder `templates` it is in.
        template: its file name.
        escaped: whether the content is made harmless in HTML.
        content: by the names that it uses; one that is missing is an error.
    """
    # Not at the top: what prints a line needs no templates.
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(SHARED)]),
        autoescape=escaped,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)

"""What is printed: a console as wide as who reads it, and lists of items that fit it."""

import os
import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_collab.runs.plain_text import printable, terminal_text

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

"""A bar for work on many rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


@contextmanager
def row_progress(what: str, total: int, rows: str) -> Iterator[Callable[[int], None]]:
    """Show how far some work has come; the bar goes when the work is done.

    Args:
        what: is being done.
        total: rows that there are.
        rows: what a row is.

    Yields:
        A function to be told how many further rows are done.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(rows),
        TimeRemainingColumn(),
    )
    # On the error stream, as all that is said on the way: the output may be piped.
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)

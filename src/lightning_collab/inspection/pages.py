"""Pages: templates filled in, everything escaped, nothing loaded from elsewhere."""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from lightning_collab.errors import InspectionError
from lightning_collab.inspection.layout import Ends
from lightning_collab.runs.files import write_atomically
from lightning_collab.runs.text import filled_in


class PageTable(NamedTuple):
    """A table as the templates show it."""

    header: list[str]
    rows: list[tuple[Any, ...]]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "PageTable":
        """The rows of a frame, underscores in the names of its columns shown as spaces."""
        return cls([name.replace("_", " ") for name in frame.columns], frame.rows())


class Picture(NamedTuple):
    """A figure with what it shows in words."""

    uri: str
    caption: str


def render(template: str, **content: Any) -> str:
    """Fill in a template of this package.

    Args:
        template: its file name.
        content: by the names that it uses; one that is missing is an error.
    """
    content["version"] = version("lightning-collab")
    return filled_in("lightning_collab.inspection", template, **content)


def fact(key: str, value: Any) -> Any:
    """A number of metrics.json as a person says it: no more digits than it is known by.

    Args:
        key: of metrics.json.
        value: of it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if key.endswith("_bytes"):
        return f"{value / 2**20:,.0f} MiB"
    if key.endswith("_seconds"):
        return f"{value:,.1f} s"
    if key.endswith("_per_second"):
        return f"{value:,.0f}"
    # A seed is a name, and no count.
    return str(value) if key == "seed" else value


def write_report(page: str, path: Path) -> Path:
    """Write a report, whole or not at all.

    Args:
        page: the content.
        path: of the file; its folder is made.

    Returns:
        The file.

    Raises:
        InspectionError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page)
    except OSError as error:
        raise InspectionError(f"cannot write the report {path}: {error}") from error
    return path


def page_ends(ends: Iterable[Ends]) -> list[dict[str, Any]]:
    """Extremes as the templates show them.

    Args:
        ends: from `extremes`.
    """
    return [{"name": e.name, "top": _short(e.top), "bottom": _short(e.bottom)} for e in ends]


def _short(frame: pl.DataFrame) -> PageTable:
    name = frame.columns[0]
    columns = [c for c in (name, "genres", "occupation", "ratings", "value") if c in frame.columns]
    shown = frame.select(columns)
    if "genres" in columns:
        shown = shown.with_columns(pl.col("genres").str.replace_all("|", ", ", literal=True))
    return PageTable.of(shown)

"""Pages: templates filled in, everything escaped, nothing loaded from elsewhere."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, NamedTuple

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from lightning_collab.inspection.extremes import Ends

EXTREMES_NOTE = (
    "The bias is what is left of a rating when the taste of those who gave it is accounted for. "
    "The principal components are the directions in which the embeddings differ most; their two "
    "ends show what the model tells apart first. Which end is called high is arbitrary."
)


class PageTable(NamedTuple):
    """A table as the templates show it."""

    header: list[str]
    rows: list[tuple[Any, ...]]

    @classmethod
    def of(cls, frame: pl.DataFrame, columns: Iterable[str] | None = None) -> "PageTable":
        """The rows of a frame, underscores in the names of its columns shown as spaces."""
        shown = frame.select(columns) if columns is not None else frame
        return cls([name.replace("_", " ") for name in shown.columns], shown.rows())


class PageEnds(NamedTuple):
    """Both ends of a scale as the templates show them."""

    name: str
    top: PageTable
    bottom: PageTable


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
    environment = Environment(
        loader=PackageLoader("lightning_collab.inspection"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=version("lightning-collab"), **content)


def page_ends(ends: Iterable[Ends]) -> list[PageEnds]:
    """Extremes as the templates show them.

    Args:
        ends: from `extremes`.
    """
    return [PageEnds(e.name, _short(e.top), _short(e.bottom)) for e in ends]


def _short(frame: pl.DataFrame) -> PageTable:
    name = frame.columns[0]
    columns = [c for c in (name, "genres", "occupation", "ratings", "value") if c in frame.columns]
    return PageTable.of(
        frame.select(columns).with_columns(
            pl.col("genres").str.replace_all("|", ", ", literal=True)
        )
        if "genres" in columns
        else frame.select(columns)
    )

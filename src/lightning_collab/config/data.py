"""`conf/data`: where the ratings come from and how many make a batch."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_collab.config.section import Section

BatchSize = Annotated[int, Field(ge=1)] | Literal["full"]


class DataConfig(Section):
    """Keys that every source of ratings has."""

    root: str | None
    """Folder of the raw files; null: $LIGHTNING_COLLAB_DATA, else the user's cache folder."""
    batch_size: BatchSize
    """Ratings in one optimiser step over all ranks; `full`: all of them."""


class MovieLens100KConfig(DataConfig):
    """MovieLens 100K (1998)."""

    name: Literal["ml_100k"]


DataSource = MovieLens100KConfig

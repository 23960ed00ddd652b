"""`conf/data`: where the ratings come from and how many make a batch."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lightning_collab.config.section import Section

BatchSize = Annotated[int, Field(ge=1)] | Literal["full"]


class DataConfig(Section):
    """Keys that every source of ratings has."""

    official_folds: ClassVar[tuple[str, ...]] = ()
    """Test parts that come with the source."""

    name: str
    root: str | None
    """Folder of the raw files; null: $LIGHTNING_COLLAB_DATA, else the user's cache folder."""
    batch_size: BatchSize
    """Ratings in one optimiser step over all ranks; `full`: all of them."""

    @property
    def has_timestamps(self) -> bool:
        """Whether each rating has a time, known before any data is read."""
        return True

    @property
    def names_parts(self) -> bool:
        """Whether the source says itself which rows train, validate and test."""
        return False


class MovieLens100KConfig(DataConfig):
    """MovieLens 100K (1998)."""

    official_folds = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")

    name: Literal["ml_100k"]


class MovieLensLatestSmallConfig(DataConfig):
    """MovieLens latest-small, about 100,000 ratings; GroupLens has changed it over the years."""

    name: Literal["ml_latest_small"]
    edition: Literal[2018, 2016]
    """Year: 2018 is the one at GroupLens today, 2016 the one of the fastai course."""


DataSource = Annotated[
    MovieLens100KConfig | MovieLensLatestSmallConfig, Field(discriminator="name")
]

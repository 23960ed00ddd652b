"""`conf/split`: which ratings train, validate and test."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_collab.config.data import DataConfig
from lightning_collab.config.section import Section

Share = Annotated[float, Field(ge=0, lt=1)]
Fold = Literal["u1", "u2", "u3", "u4", "u5", "ua", "ub"]


class SplitConfig(Section):
    """Keys that every split has."""

    val: Share
    """Share of the rows that are not test; 0: no validation part."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Seed of the split, apart from the seed of initial weights and order."""

    @property
    def has_val(self) -> bool:
        """Whether there is a part to validate on, known before any data is read."""
        return self.val > 0

    def check_source(self, data: DataConfig) -> None:
        """Refuse a source that this split cannot be made of, before any data is read.

        Raises:
            ValueError: the message names the keys.
        """


class RandomSplitConfig(SplitConfig):
    """Rows drawn at random."""

    name: Literal["random"]
    test: Share
    """Share of all rows; 0: no test part."""


class LectureSplitConfig(SplitConfig):
    """The lecture's: 20% of the rows, drawn with numpy's RandomState.

    They are the validation part, and there is no test part; with `val` above 0 they are the test
    part, and the validation part comes out of the rest.
    """

    name: Literal["lecture"]

    @property
    def has_val(self) -> bool:
        """Always: the lecture's 20% where no other rows are asked for."""
        return True


class OfficialFoldConfig(SplitConfig):
    """A test part that comes with the release; the validation part is drawn out of its base."""

    name: Literal["official_fold"]
    fold: Fold
    """Which: u1 to u5 are five disjoint fifths; ua and ub have ten ratings of each user."""

    def check_source(self, data: DataConfig) -> None:
        """Only sources that come with folds."""
        if self.fold not in data.official_folds:
            raise ValueError(
                f"split.fold={self.fold}: data={data.name} comes without official folds; those of "
                "GroupLens (u1 to u5, ua, ub) are part of MovieLens 100K (data=ml_100k)"
            )


Split = Annotated[
    RandomSplitConfig | LectureSplitConfig | OfficialFoldConfig, Field(discriminator="name")
]

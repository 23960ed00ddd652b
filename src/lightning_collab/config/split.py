"""`conf/split`: which ratings train, validate and test."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_collab.config.section import Section

Share = Annotated[float, Field(ge=0, lt=1)]


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


class RandomSplitConfig(SplitConfig):
    """Rows drawn at random."""

    name: Literal["random"]
    test: Share
    """Share of all rows; 0: no test part."""


Split = RandomSplitConfig

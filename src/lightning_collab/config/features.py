"""`conf/features`: what else a model is told of users, items and time, by block name."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from lightning_collab.config.section import Section

BlockName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
"""Name of a block; part of the names of a model's tensors."""
IfAbsent = Literal["error", "skip"]


class HistoryConfig(Section):
    """Which items a user rated among the training ratings, or which users rated an item."""

    kind: Literal["history"]


class CategoryConfig(Section):
    """One column of the block for each value; a column of lists may give a row several."""

    kind: Literal["category"]
    column: Annotated[str, Field(min_length=1)]
    """Of the data's table of users (of items), by its name there."""
    if_absent: IfAbsent = "error"
    """Where the data has no such column: an error, or the block is left out."""


class BinnedConfig(Section):
    """A number, cut into bins that hold about as many users (items) each."""

    kind: Literal["binned"]
    column: Annotated[str, Field(min_length=1)]
    """Of the data's table of users (of items), by its name there; a number."""
    bins: Annotated[int, Field(ge=2)]
    """How many; fewer where values are so few that bins would be equal."""
    if_absent: IfAbsent = "error"
    """Where the data has no such column: an error, or the block is left out."""


Feature = Annotated[HistoryConfig | CategoryConfig | BinnedConfig, Field(discriminator="kind")]


class TimeConfig(Section):
    """An effect of its own for each user (item) in each period of so many days."""

    of: Literal["users", "items"]
    """Whose effect it is."""
    days: Annotated[int, Field(ge=1)]
    """Length of a period."""


class FeaturesConfig(Section):
    """Blocks of features by name; no block at all where nothing is told but ids."""

    users: dict[BlockName, Feature] = Field(default_factory=dict)
    """Blocks of users."""
    items: dict[BlockName, Feature] = Field(default_factory=dict)
    """Blocks of items."""
    time: dict[BlockName, TimeConfig] = Field(default_factory=dict)
    """Effects of time."""

    def __bool__(self) -> bool:
        """Whether there is any block."""
        return bool(self.users or self.items or self.time)

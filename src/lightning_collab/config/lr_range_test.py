"""`conf/lr_range_test`: how a learning rate is looked for."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lightning_collab.config.section import Section

Suggestion = Literal["steepest", "valley", "minimum"]


class LRRangeTestConfig(Section):
    """How a learning rate is looked for (Smith 2017)."""

    start_lr: Annotated[float, Field(gt=0)]
    """optimizer.lr at the first step."""
    end_lr: Annotated[float, Field(gt=0)]
    """optimizer.lr at the last step."""
    steps: Annotated[int, Field(ge=10)]
    """Optimiser steps between the two."""
    smoothing: Annotated[float, Field(ge=0, lt=1)]
    """Share of the running mean of losses that each new loss leaves."""
    divergence: Annotated[float, Field(gt=1)]
    """The test stops where the smoothed loss is this many times the lowest."""
    suggestion: Suggestion
    """Which suggestion is used and printed to paste."""

    @model_validator(mode="after")
    def _upward(self) -> Self:
        if self.end_lr <= self.start_lr:
            raise ValueError("lr_range_test.end_lr: must be above lr_range_test.start_lr")
        return self

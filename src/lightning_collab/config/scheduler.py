"""`conf/scheduler`: how the learning rate changes; all lengths are in epochs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lightning_collab.config.section import Section

Whole = Annotated[int, Field(ge=1)]


class ConstantConfig(Section):
    """The same rate from first to last step."""

    name: Literal["constant"]


class WarmRestartsConfig(Section):
    """Cosine to eta_min within a cycle, then up again (Loshchilov and Hutter 2017)."""

    name: Literal["warm_restarts"]
    cycle_len: Annotated[float, Field(gt=0)]
    """Epochs of the first cycle."""
    cycle_mult: Whole
    """Each cycle is this many times as long as the one before."""
    eta_min: Annotated[float, Field(ge=0)]
    """Lowest learning rate, before lr_scale."""

    def cycle_ends(self, epochs: float) -> list[float]:
        """Where the cycles end that end within so many epochs, in epochs from the start.

        Args:
            epochs: length of the run.
        """
        ends, length = [self.cycle_len], self.cycle_len
        while ends[-1] <= epochs + 1e-9:
            length *= self.cycle_mult
            ends.append(ends[-1] + length)
        return ends[:-1]


class OneCycleConfig(Section):
    """Up to the learning rate and down again, once over the whole run (Smith and Topin 2018)."""

    name: Literal["one_cycle"]
    warm_up: Annotated[float, Field(gt=0, lt=1)]
    """Share of the run in which the rate rises."""
    start_div: Annotated[float, Field(ge=1)]
    """The first rate is lr divided by this."""
    end_div: Annotated[float, Field(ge=1)]
    """The last rate is the first one divided by this."""


class StepsConfig(Section):
    """The rate is multiplied by gamma at each milestone."""

    name: Literal["steps"]
    milestones: Annotated[list[Whole], Field(min_length=1)]
    """Epochs after which the rate changes, ascending."""
    gamma: Annotated[float, Field(gt=0)]
    """Factor at each milestone."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError("scheduler.milestones: must ascend, without repeats")
        return self


Scheduler = Annotated[
    ConstantConfig | WarmRestartsConfig | OneCycleConfig | StepsConfig, Field(discriminator="name")
]

"""`conf/scheduler`: how the learning rate changes; all lengths are in epochs."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_collab.config.section import Section


class ConstantConfig(Section):
    """The same rate from first to last step."""

    name: Literal["constant"]


class WarmRestartsConfig(Section):
    """Cosine to eta_min within a cycle, then up again (Loshchilov and Hutter 2017)."""

    name: Literal["warm_restarts"]
    cycle_len: Annotated[float, Field(gt=0)]
    """Epochs of the first cycle."""
    cycle_mult: Annotated[int, Field(ge=1)]
    """Each cycle is this many times as long as the one before."""
    eta_min: Annotated[float, Field(ge=0)]
    """Lowest learning rate, before lr_scale."""


Scheduler = Annotated[ConstantConfig | WarmRestartsConfig, Field(discriminator="name")]

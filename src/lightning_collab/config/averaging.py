"""`conf/averaging`: which mean of the weights is validated, kept and used."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_collab.config.section import Section


class NoAveragingConfig(Section):
    """The weights as the last step left them."""

    name: Literal["none"] = "none"


class EMAConfig(Section):
    """An exponential moving average over the steps (Polyak and Juditsky 1992)."""

    name: Literal["ema"]
    decay: Annotated[float, Field(gt=0, lt=1)]
    """Share of the average that stays at each step."""
    from_epoch: Annotated[int, Field(ge=0)]
    """Epochs of training before the average begins."""


class SWAConfig(Section):
    """The mean of the weights at ends of epochs or cycles (Izmailov et al. 2018)."""

    name: Literal["swa"]
    every: Literal["epoch", "cycle"]
    """After what the weights enter the mean."""
    from_epoch: Annotated[int, Field(ge=0)]
    """Epochs of training before the average begins."""


Averaging = Annotated[NoAveragingConfig | EMAConfig | SWAConfig, Field(discriminator="name")]

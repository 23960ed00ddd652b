"""`conf/callbacks`: what watches the training."""

from typing import Annotated

from pydantic import Field

from lightning_collab.config.section import Section


class EarlyStoppingConfig(Section):
    """When to give up before max_epochs."""

    patience: Annotated[int, Field(ge=1)]
    """Epochs without improvement before stopping."""
    min_delta: Annotated[float, Field(ge=0)]
    """What counts as an improvement, in units of the monitored metric."""


class CallbacksConfig(Section):
    """What watches the training."""

    monitor: str | None
    """Metric that picks best.ckpt; null: val/rmse where the split has a validation part."""
    early_stopping: EarlyStoppingConfig | None
    """null: train for max_epochs."""
    progress_bar: bool
    """Show progress while training."""

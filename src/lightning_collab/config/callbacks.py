"""`conf/callbacks`: what watches the training."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_collab.config.section import Section


class EarlyStoppingConfig(Section):
    """When to give up before max_epochs."""

    patience: Annotated[int, Field(ge=1)]
    """Epochs without improvement before stopping."""
    min_delta: Annotated[float, Field(ge=0)]
    """What counts as an improvement, in units of the monitored metric."""


class ProjectorConfig(Section):
    """When embeddings are logged to TensorBoard's projector, with histograms and genre overlap."""

    every_n_epochs: Annotated[int, Field(ge=1)] | None
    """null: at the end of each cycle of the schedule; at the end of the run in any case."""
    users: bool
    """Users as well as items."""


class ReportConfig(Section):
    """The page that a run ends with."""

    map: Literal["tsne", "umap", "pca"] | None
    """Layout of the map of items in it; null: no map."""


class CallbacksConfig(Section):
    """What watches the training."""

    monitor: str | None
    """Metric that picks best.ckpt; null: val/rmse where the split has a validation part."""
    early_stopping: EarlyStoppingConfig | None
    """null: train for max_epochs."""
    progress_bar: bool
    """Show progress while training."""
    projector: ProjectorConfig | None = None
    """null: embeddings are not logged."""
    report: ReportConfig | None = None
    """null: no report.html."""

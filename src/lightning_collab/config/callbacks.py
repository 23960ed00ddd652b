"""`conf/callbacks`: what follows the training."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lightning_collab.config.section import EMPTY_IF_NULL, MOST, Section

# The key of Hydra that names what is called to make an object.
TARGET = "_target_"
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")

Target = dict[str, Any]


class EarlyStoppingConfig(Section):
    """When to give up before max_epochs."""

    # Epochs without improvement before stopping.
    patience: Annotated[int, Field(ge=1, le=MOST)] = 3
    # What counts as an improvement, in units of the monitored metric.
    min_delta: Annotated[float, Field(ge=0, le=1e9)] = 0.0


class ProjectorConfig(Section):
    """When embeddings are logged to TensorBoard's projector, with histograms and genre overlap."""

    # null: at the end of each cycle of the schedule; at the end of the run in any case.
    every_n_epochs: Annotated[int, Field(ge=1, le=MOST)] | None = None
    # Users as well as items.
    users: bool = True


class ReportConfig(Section):
    """The page that a run ends with."""

    # Layout of the map of items in it; `auto`: t-SNE where there is one; null: no map.
    map: Literal["auto", "tsne", "umap", "pca"] | None = "auto"


class CallbacksConfig(Section):
    """What follows the training."""

    # Metric that picks best.ckpt; null: val/rmse where the split has a validation part.
    monitor: str | None = None
    # null: train for max_epochs.
    early_stopping: EarlyStoppingConfig | None = None
    # Show progress while training.
    progress_bar: bool = True
    # null: embeddings are not logged.
    projector: ProjectorConfig | None = ProjectorConfig()
    # null: no report.html.
    report: ReportConfig | None = ReportConfig()
    # Callbacks of other packages, each by `_target_` and its arguments; a run does not keep them.
    further: Annotated[list[Target] | dict[str, Target | None], EMPTY_IF_NULL] = Field(
        default_factory=dict
    )
    # Of a saved run: the `_target_` of its further callbacks, as text that nothing is made from.
    further_classes: list[str] = Field(default_factory=list)

    @property
    def targets(self) -> dict[str, Target]:
        """The further callbacks by the key that each is typed under; those set to null are out."""
        named = self.further.items() if isinstance(self.further, dict) else enumerate(self.further)
        return {f"callbacks.further.{key}": each for key, each in named if each is not None}

    @model_validator(mode="after")
    def _each_names_its_class(self) -> Self:
        for key, target in self.targets.items():
            name = target.get(TARGET)
            if not isinstance(name, str) or not DOTTED.fullmatch(name):
                given = "" if name is None else f" (got {name!r})"
                raise ValueError(f"{key}.{TARGET}: set it to <package.module.Class>{given}")
        return self

    def as_kept(self) -> Self:
        """What a run directory keeps: of further callbacks their names alone."""
        names = [*self.further_classes, *(each[TARGET] for each in self.targets.values())]
        kept = {"further": {}, "further_classes": list(dict.fromkeys(names))}
        return self.model_copy(update=kept)

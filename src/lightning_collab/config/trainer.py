"""`conf/trainer`, `conf/logger`, `conf/callbacks`: where a run trains, and what watches it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lightning_collab.config.section import Section


class TrainerConfig(Section):
    """What Lightning's Trainer is made with."""

    name: Literal["cpu", "gpu", "ddp", "ddp_cpu"]
    accelerator: Literal["cpu", "gpu", "auto"]
    """Kind of device."""
    devices: Annotated[int, Field(ge=1)] | Literal["auto"]
    """How many devices of this kind on each machine; auto: all."""
    num_nodes: Annotated[int, Field(ge=1)]
    """How many machines."""
    strategy: Literal["auto", "ddp"]
    """How ranks share the work; ddp: each takes a share of each batch."""
    process_group_backend: Literal["gloo", "nccl"] | None
    """What ranks talk through; null: torch's choice for the device."""
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed"]
    """Floating-point format of the training."""
    threads: Annotated[int, Field(ge=1)] | None
    """CPU threads of each rank; null: torch's choice."""
    max_epochs: Annotated[int, Field(ge=1)]
    """Passes over the training ratings, in all (also after a resume)."""
    log_every_n_steps: Annotated[int, Field(ge=1)]
    """Optimizer steps between two points of the step curves."""
    gradient_clip_val: Annotated[float, Field(gt=0)] | None
    """Norm to which gradients are clipped; null: not."""
    limit_train_batches: Annotated[int, Field(ge=1)] | None
    """Batches in an epoch, for a quick try; null: all."""

    @property
    def ranks(self) -> int | None:
        """Processes on all machines; None where it depends on the devices that there are."""
        return None if self.devices == "auto" else self.devices * self.num_nodes

    @model_validator(mode="after")
    def _several_ranks_share_the_work(self) -> Self:
        if self.strategy == "auto":
            for key in ("devices", "num_nodes"):
                value = getattr(self, key)
                if isinstance(value, int) and value > 1:
                    other = "ddp_cpu" if self.accelerator == "cpu" else "ddp"
                    raise ValueError(
                        f"trainer.{key}={value}: trainer={self.name} is one process; "
                        f"set trainer={other}"
                    )
        return self

    @model_validator(mode="after")
    def _backend_and_precision_fit_the_device(self) -> Self:
        if self.accelerator == "cpu" and self.process_group_backend == "nccl":
            raise ValueError("trainer.process_group_backend=nccl is for GPUs; use gloo")
        if self.accelerator == "cpu" and self.precision == "16-mixed":
            raise ValueError("trainer.precision=16-mixed is for GPUs; use bf16-mixed or 32-true")
        return self


class LoggerConfig(Section):
    """Where curves go."""

    name: Literal["tensorboard", "none"]
    """`tensorboard`: into <run>/tensorboard; `none`: nowhere."""


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

    map: Literal["auto", "tsne", "umap", "pca"] | None
    """Layout of the map of items in it; `auto`: t-SNE where there is one; null: no map."""


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

"""`conf/trainer`: where a run trains."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lightning_collab.config.section import Section


class TrainerConfig(Section):
    """What Lightning's Trainer is made with."""

    name: Literal["cpu", "gpu", "ddp", "ddp_cpu"]
    # Kind of device.
    accelerator: Literal["cpu", "gpu", "auto"]
    # How many devices of this kind on each machine; auto: all.
    devices: Annotated[int, Field(ge=1)] | Literal["auto"]
    # How many machines.
    num_nodes: Annotated[int, Field(ge=1)]
    # How ranks share the work; ddp: each takes a share of each batch.
    strategy: Literal["auto", "ddp"]
    # What ranks talk through; null: torch's choice for the device.
    process_group_backend: Literal["gloo", "nccl"] | None
    # Floating-point format of the training.
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed"]
    # CPU threads of each rank; null: torch's choice.
    threads: Annotated[int, Field(ge=1)] | None
    # Passes over the training ratings, in all (also after a resume).
    max_epochs: Annotated[int, Field(ge=1)]
    # Optimizer steps between two points of the step curves.
    log_every_n_steps: Annotated[int, Field(ge=1)]
    # Norm to which gradients are clipped; null: not.
    gradient_clip_val: Annotated[float, Field(gt=0)] | None
    # Batches in an epoch, for a quick try; null: all.
    limit_train_batches: Annotated[int, Field(ge=1)] | None

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

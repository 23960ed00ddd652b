"""`conf/trainer`: on which devices, for how long."""

from typing import Annotated, Literal

from pydantic import Field

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
    """How ranks share the work; ddp: each holds the whole model and a share of each batch."""
    process_group_backend: Literal["gloo", "nccl"] | None
    """What ranks talk through; null: torch's choice for the device."""
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed"]
    """Floating-point format of the training."""
    threads: Annotated[int, Field(ge=1)] | None
    """Processor threads of each rank; null: torch's choice."""
    max_epochs: Annotated[int, Field(ge=1)]
    """Passes over the training ratings, in all (also after a resume)."""
    log_every_n_steps: Annotated[int, Field(ge=1)]
    """Optimiser steps between two points of the step curves."""
    gradient_clip_val: Annotated[float, Field(gt=0)] | None
    """Norm to which gradients are clipped; null: not."""
    limit_train_batches: Annotated[int, Field(ge=1)] | None
    """Batches in an epoch, for a quick try; null: all."""

"""`conf/optimizer`: how gradients become steps, and how weights decay."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lightning_collab.config.section import Section

GROUP_NAMES = ("embeddings", "biases", "hidden", "output")
"""The names that a model's parameter groups can have."""

NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class GroupConfig(Section):
    """What differs from the optimiser's values for one group of parameters."""

    lr_scale: NonNegative = 1.0
    """Factor on the learning rate; 0 freezes the group."""
    weight_decay: NonNegative | None = None
    """Weight decay of this group; null: the optimiser's."""


class GroupsConfig(Section):
    """One entry for each layer group that needs values of its own."""

    embeddings: GroupConfig = GroupConfig()
    biases: GroupConfig = GroupConfig()
    hidden: GroupConfig = GroupConfig()
    output: GroupConfig = GroupConfig()

    def named(self, name: str) -> GroupConfig:
        """The entry of one group.

        Args:
            name: one of `GROUP_NAMES`.
        """
        group: GroupConfig = getattr(self, name)
        return group


class OptimizerConfig(Section):
    """Keys that every optimiser has."""

    lr: Annotated[float, Field(gt=0)]
    """Learning rate before schedule and lr_scale."""
    weight_decay: NonNegative
    """Weight decay of all groups that name none of their own."""
    decay: Literal["gradient", "decoupled", "touched_rows"]
    """Form of the weight decay; see docs/weight-decay.md."""
    groups: GroupsConfig

    @property
    def sparse_gradients(self) -> bool:
        """Whether a table's gradient is of the rows that a batch touches alone."""
        return False


class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    momentum: Fraction
    """0: none."""
    nesterov: bool
    """Nesterov's form of the momentum."""
    sparse: bool = False
    """Gradients of tables are of the rows that a batch touches alone; for plain SGD."""

    @property
    def sparse_gradients(self) -> bool:
        """Whether a table's gradient is of the rows that a batch touches alone."""
        return self.sparse

    @model_validator(mode="after")
    def _sparse_gradients_move_no_other_row(self) -> Self:
        decays = (self.weight_decay, self.groups.embeddings.weight_decay or 0)
        dense_decay = self.decay != "touched_rows" and (
            any(decays) or bool(self.groups.biases.weight_decay)
        )
        if self.sparse and (self.momentum or dense_decay):
            raise ValueError(
                "optimizer.sparse: momentum and weight decay move rows that a batch does not "
                "touch; set optimizer.momentum=0, and optimizer.decay=touched_rows or "
                "optimizer.weight_decay=0"
            )
        return self


class AdamConfig(OptimizerConfig):
    """Adam (Kingma and Ba 2015)."""

    name: Literal["adam"]
    beta1: Fraction
    """Decay of the running mean of gradients."""
    beta2: Fraction
    """Decay of the running mean of squared gradients."""
    eps: Annotated[float, Field(gt=0)]
    """Added to the denominator."""


class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"]  # type: ignore[assignment]
    decay: Literal["decoupled"]


Optimizer = Annotated[SGDConfig | AdamConfig | AdamWConfig, Field(discriminator="name")]

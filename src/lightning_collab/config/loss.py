"""`conf/loss`: what the training makes small."""

from typing import Annotated, ClassVar, Literal

from pydantic import PlainValidator, SerializeAsAny

from lightning_collab.config.registry import LOSSES
from lightning_collab.config.section import Section, choose_by_name


class LossConfig(Section):
    """Keys that every loss has, and what is known of it before any data is read.

    A loss of your own that has keys has a subclass of this, or of `RankingLossConfig`, as its
    `config_class`; one without keys needs none. See docs/extending.md.
    """

    chosen_from = LOSSES
    # Place of the class of the loss itself, as "module:Class".
    loss_class: ClassVar[str]
    # Whether the fused engine has kernels for it.
    fused: ClassVar[bool] = False
    # What is measured at validation and test: errors of ratings, or rankings of all items.
    metrics: ClassVar[Literal["ratings", "rankings"]] = "ratings"
    # The metric that picks the best checkpoint unless another is named.
    monitor: ClassVar[str] = "val/rmse"
    # Whether less or more of it is better.
    mode: ClassVar[Literal["min", "max"]] = "min"

    name: str


class RankingLossConfig(LossConfig):
    """Of losses that compare scores of items."""

    metrics: ClassVar[Literal["ratings", "rankings"]] = "rankings"
    monitor: ClassVar[str] = "val/ndcg@10"
    mode: ClassVar[Literal["min", "max"]] = "max"


class SquaredErrorConfig(LossConfig):
    """Squared error of ratings."""

    loss_class: ClassVar[str] = "lightning_collab.losses.squared_error:SquaredError"
    fused: ClassVar[bool] = True

    name: Literal["squared_error"] = "squared_error"


# The config of one of the losses that `LOSSES` names.
Loss = Annotated[SerializeAsAny[LossConfig], PlainValidator(choose_by_name(LossConfig))]

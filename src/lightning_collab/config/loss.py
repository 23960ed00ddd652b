"""`conf/loss`: what the training makes small."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PlainValidator, SerializeAsAny

from lightning_collab.config.registry import LOSSES
from lightning_collab.config.section import MOST, Section, choose_by_name

# Which ratings say that an item was chosen: all, or those of at least so much.
Positives = Literal["all"] | float
# Each is drawn and scored for each choice, so that more would take minutes a step.
Negatives = Annotated[int, Field(ge=1, le=100_000)]


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
    # Whether its batches are users with all that they chose.
    by_user: ClassVar[bool] = False
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

    # The lowest rating of an item that somebody chose; `all`: whatever was rated was chosen.
    positives: Positives = "all"
    # What was rated below it: `negative`, like what was not rated, or left out of the loss.
    dislikes: Literal["ignore", "negative"] = "ignore"


class SquaredErrorConfig(LossConfig):
    """Squared error of ratings."""

    loss_class: ClassVar[str] = "lightning_collab.losses.loss:SquaredError"
    fused: ClassVar[bool] = True

    name: Literal["squared_error"] = "squared_error"


class SoftmaxConfig(RankingLossConfig):
    """Cross-entropy over the catalog, by user."""

    loss_class: ClassVar[str] = "lightning_collab.losses.loss:Softmax"
    fused: ClassVar[bool] = True
    by_user: ClassVar[bool] = True

    name: Literal["softmax"] = "softmax"
    # Most scores of a batch (users times items); above it, items are drawn for the catalog.
    catalogue_limit: Annotated[int, Field(ge=0, le=MOST)] = 1 << 25
    # Items drawn for each batch where the catalog is above the limit.
    samples: Annotated[int, Field(ge=1, le=MOST)] = 1024
    # They are drawn by their number of choices to this power; 0: all alike.
    popularity_power: Annotated[float, Field(ge=0, le=1)] = 0.5


class SampledLossConfig(RankingLossConfig):
    """Of losses that compare each choice with items drawn for it."""

    # Items drawn for each choice, none of which its user chose.
    negatives: Negatives = 1
    # They are drawn by their number of choices to this power; 0: all alike.
    popularity_power: Annotated[float, Field(ge=0, le=1)] = 0.0


class BCEConfig(SampledLossConfig):
    """Binary cross-entropy of chosen and drawn items."""

    loss_class: ClassVar[str] = "lightning_collab.losses.loss:BCE"
    fused: ClassVar[bool] = True

    name: Literal["bce"] = "bce"
    # Items drawn for each choice, none of which its user chose.
    negatives: Negatives = 4


class BPRConfig(SampledLossConfig):
    """Bayesian personalized ranking: a chosen item above a drawn one."""

    loss_class: ClassVar[str] = "lightning_collab.losses.loss:BPR"
    fused: ClassVar[bool] = True

    name: Literal["bpr"] = "bpr"
    # Items are drawn by their number of choices to this power; 0: all alike.
    popularity_power: Annotated[float, Field(ge=0, le=1)] = 0.5


# The config of one of the losses that `LOSSES` names.
Loss = Annotated[SerializeAsAny[LossConfig], PlainValidator(choose_by_name(LossConfig))]

"""`conf/loss`: what the training makes small."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import PlainValidator, SerializeAsAny
from pydantic_core import PydanticKnownError

from lightning_collab.config.registry import LOSSES
from lightning_collab.config.section import Section


class LossConfig(Section):
    """Keys that every loss has, and what is known of it before any data is read."""

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

    @classmethod
    def class_of(cls, values: Mapping[str, Any]) -> type[Section]:
        """The class that the values name."""
        return LOSSES[values["name"]] if values.get("name") in LOSSES else cls


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


def choose_by_name(values: Any) -> LossConfig:
    """The config of the loss that is named, of its own class."""
    if isinstance(values, LossConfig):
        return values
    if not isinstance(values, Mapping):
        raise PydanticKnownError("model_attributes_type")
    if "name" not in values:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'name'"})
    if values["name"] not in LOSSES:
        raise PydanticKnownError(
            "union_tag_invalid",
            {
                "discriminator": "'name'",
                "tag": str(values["name"]),
                "expected_tags": ", ".join(map(repr, LOSSES.names)),
            },
        )
    config: LossConfig = LOSSES[values["name"]].model_validate(values)
    return config


# The config of one of the losses that `LOSSES` names.
Loss = Annotated[SerializeAsAny[LossConfig], PlainValidator(choose_by_name)]

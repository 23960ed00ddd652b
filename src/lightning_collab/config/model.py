"""`conf/model`: what turns a user and an item into a rating."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainValidator, SerializeAsAny
from pydantic_core import PydanticKnownError

from lightning_collab.config.registry import MODELS
from lightning_collab.config.section import Section


class ModelConfig(Section):
    """Keys that every model has."""

    # Place of the class of the model itself, as "module:Class".
    model_class: ClassVar[str]
    # Its parameter groups.
    group_names: ClassVar[tuple[str, ...]] = ("embeddings", "biases")
    # Whether it is trained by gradient descent, so that optimizer, schedule and batches matter.
    by_gradient: ClassVar[bool] = True
    # Whether it can be told more than ids.
    takes_features: ClassVar[bool] = False
    # Whether it is made of many samples, so that its checkpoints are large.
    keeps_samples: ClassVar[bool] = False
    # Whether the fused engine has kernels for it.
    fused: ClassVar[bool] = False

    name: str
    # Length of the embedding of a user and of an item.
    factors: Annotated[int, Field(ge=1)] = 50

    @classmethod
    def class_of(cls, values: Mapping[str, Any]) -> type[Section]:
        """The class that the values name."""
        return MODELS[values["name"]] if values.get("name") in MODELS else cls

    def check_run(self, max_epochs: int) -> None:
        """Refuse a run that makes nothing of this model, before any data is read.

        Raises:
            ValueError: the message names the keys.
        """

    @property
    def sharded(self) -> bool:
        """Whether its tables are split over the ranks that train it."""
        return False


def choose_by_name(values: Any) -> ModelConfig:
    """The config of the model that is named, of its own class.

    Args:
        values: of the section, or what they have been made into before.
    """
    if isinstance(values, ModelConfig):
        return values
    if not isinstance(values, Mapping):
        raise PydanticKnownError("model_attributes_type")
    if "name" not in values:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'name'"})
    if values["name"] not in MODELS:
        context = {
            "discriminator": "'name'",
            "tag": str(values["name"]),
            "expected_tags": ", ".join(map(repr, MODELS.names)),
        }
        raise PydanticKnownError("union_tag_invalid", context)
    config: ModelConfig = MODELS[values["name"]].model_validate(values)
    return config


# The config of one of the models that `MODELS` names.
Model = Annotated[SerializeAsAny[ModelConfig], PlainValidator(choose_by_name)]

"""`conf/model`: what turns a user and an item into a rating."""

from typing import Annotated, ClassVar

from pydantic import Field, PlainValidator, SerializeAsAny

from lightning_collab.config.registry import MODELS
from lightning_collab.config.section import MOST, Section, choose_by_name


class ModelConfig(Section):
    """Keys that every model has.

    A model of your own has a subclass of this as its `config_class`, with a `name` of one value
    and a default for each key: see docs/extending.md.

    Example:
        >>> class DistanceConfig(lightning_collab.ModelConfig):
        ...     name: Literal["distance"] = "distance"
        ...     # Embeddings start uniform in (-init_range, init_range).
        ...     init_range: float = 0.1
        >>> DistanceConfig(factors=8).init_range
        0.1
    """

    chosen_from = MODELS
    # Of a model of ours, the place of its class, as "module:Class".
    model_class: ClassVar[str]
    # Its parameter groups.
    group_names: ClassVar[tuple[str, ...]] = ("embeddings", "biases")
    # Whether it is trained by gradient descent, so that optimizer, schedule and batches matter.
    by_gradient: ClassVar[bool] = True
    # Whether it can be told more than ids.
    takes_features: ClassVar[bool] = False
    # Whether it is made of many samples, so that its checkpoints are large.
    keeps_samples: ClassVar[bool] = False
    # Whether it gives scores to rank by, whatever the loss, in place of ratings.
    ranks: ClassVar[bool] = False
    # Whether the fused engine has kernels for it.
    fused: ClassVar[bool] = False
    # Whether those know batches of ids alone: no features, no threads on single ratings.
    fused_ids_only: ClassVar[bool] = False

    name: str
    # Length of the embedding of a user and of an item.
    factors: Annotated[int, Field(ge=1, le=MOST)] = 50

    def check_run(self, max_epochs: int) -> None:
        """Refuse a run that makes nothing of this model, before any data is read.

        Raises:
            ValueError: the message names the keys.
        """

    def bytes_needed(self, items: int) -> int:
        """Memory for what grows with the square of the catalog.

        Args:
            items: in the catalog.
        """
        return 0

    @property
    def sharded(self) -> bool:
        """Whether its tables are split over the ranks that train it."""
        return False


# The config of one of the models that `MODELS` names.
Model = Annotated[SerializeAsAny[ModelConfig], PlainValidator(choose_by_name(ModelConfig))]

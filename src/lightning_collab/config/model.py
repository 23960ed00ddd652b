"""`conf/model`: what turns a user and an item into a rating."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lightning_collab.config.section import Section

Probability = Annotated[float, Field(ge=0, lt=1)]


class EmbeddingModelConfig(Section):
    """Keys that the lecture's two models share."""

    factors: Annotated[int, Field(ge=1)]
    """Length of the embedding of a user and of an item."""
    output: Literal["sigmoid", "linear"]
    """`sigmoid`: stretched to the rating range; `linear`: the training mean plus the raw output."""
    range_margin: Annotated[float, Field(ge=0)]
    """How far the sigmoid may go beyond the lowest and the highest rating, in rating units."""
    init_range: Annotated[float, Field(ge=0)]
    """Embeddings and biases start uniform in (-init_range, init_range)."""


class EmbeddingDotBiasConfig(EmbeddingModelConfig):
    """Dot product of both embeddings plus both biases."""

    name: Literal["embedding_dot_bias"]
    group_names: ClassVar[tuple[str, ...]] = ("embeddings", "biases")


class EmbeddingNetConfig(EmbeddingModelConfig):
    """Both embeddings concatenated, dropout, a hidden layer, dropout, one output."""

    name: Literal["embedding_net"]
    group_names: ClassVar[tuple[str, ...]] = ("embeddings", "hidden", "output")
    hidden: Annotated[int, Field(ge=1)]
    """Units of the hidden layer (the lecture's nh)."""
    embedding_dropout: Probability
    """Dropout on the concatenated embeddings (the lecture's p1)."""
    hidden_dropout: Probability
    """Dropout on the hidden layer (the lecture's p2)."""


Model = Annotated[EmbeddingDotBiasConfig | EmbeddingNetConfig, Field(discriminator="name")]

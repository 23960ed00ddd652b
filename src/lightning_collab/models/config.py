"""Configs of the models, each with the place of the class that it is the config of."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lightning_collab.config.model import ModelConfig, Positives
from lightning_collab.config.section import MOST

Probability = Annotated[float, Field(ge=0, lt=1)]


class EmbeddingModelConfig(ModelConfig):
    """Keys that the lecture's two networks share."""

    takes_features: ClassVar[bool] = True

    # `sigmoid`: stretched to the rating range; `linear`: the training mean plus the raw output.
    output: Literal["sigmoid", "linear"] = "sigmoid"
    # How far the sigmoid may go beyond the lowest and the highest rating, in rating units.
    range_margin: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    # Embeddings and biases start uniform in (-init_range, init_range).
    init_range: Annotated[float, Field(ge=0, le=100)] = 0.01
    # `row`: each rank holds some rows of each table; `none`: each holds all.
    sharding: Literal["none", "row"] = "none"

    @property
    def sharded(self) -> bool:
        """Whether its tables are split over the ranks that train it."""
        return self.sharding == "row"


class EmbeddingDotBiasConfig(EmbeddingModelConfig):
    """Dot product of both embeddings plus both biases."""

    model_class: ClassVar[str] = "lightning_collab.models.factors:EmbeddingDotBias"
    fused: ClassVar[bool] = True
    name: Literal["embedding_dot_bias"] = "embedding_dot_bias"


class EmbeddingNetConfig(EmbeddingModelConfig):
    """Both embeddings concatenated, dropout, a hidden layer, dropout, one output."""

    model_class: ClassVar[str] = "lightning_collab.models.embedding_net:EmbeddingNet"
    fused: ClassVar[bool] = True
    fused_ids_only: ClassVar[bool] = True
    name: Literal["embedding_net"] = "embedding_net"
    group_names: ClassVar[tuple[str, ...]] = ("embeddings", "hidden", "output")
    # Units of the hidden layer (the lecture's nh).
    hidden: Annotated[int, Field(ge=1, le=MOST)] = 10
    # Dropout on the concatenated embeddings (the lecture's p1).
    embedding_dropout: Probability = 0.05
    # Dropout on the hidden layer (the lecture's p2).
    hidden_dropout: Probability = 0.5
    # How far the sigmoid may go beyond the lowest and the highest rating, in rating units.
    range_margin: Annotated[float, Field(ge=0, le=1e6)] = 0.5


class MatrixProductConfig(ModelConfig):
    """The product X Y^T alone."""

    model_class: ClassVar[str] = "lightning_collab.models.factors:MatrixProduct"
    fused: ClassVar[bool] = True
    group_names: ClassVar[tuple[str, ...]] = ("embeddings",)

    name: Literal["matrix_product"] = "matrix_product"
    # Length of the embedding of a user and of an item.
    factors: Annotated[int, Field(ge=1, le=MOST)] = 10
    # Factors start uniform in (-init_range, init_range).
    init_range: Annotated[float, Field(gt=0, le=100)] = 0.5


class LeastSquaresFactorsConfig(ModelConfig):
    """Factors and biases by alternating ridge regression."""

    model_class: ClassVar[str] = "lightning_collab.models.factors:LeastSquaresFactors"
    by_gradient: ClassVar[bool] = False

    name: Literal["least_squares_factors"] = "least_squares_factors"
    # Length of the embedding of a user and of an item.
    factors: Annotated[int, Field(ge=1, le=MOST)] = 10
    # Ridge penalty on squared factors.
    penalty: Annotated[float, Field(gt=0, le=1e12)] = 1.4
    # Ridge penalty on squared biases.
    bias_penalty: Annotated[float, Field(gt=0, le=1e12)] = 0.5
    # Penalties of a row are times its number of ratings to this power; 1: weighted-lambda.
    weighting: Annotated[float, Field(ge=0, le=1)] = 0.5
    # Factors start uniform in (-init_range, init_range).
    init_range: Annotated[float, Field(gt=0, le=100)] = 0.1


class ImplicitLeastSquaresConfig(ModelConfig):
    """Factors of what was chosen, by least squares over all pairs (iALS)."""

    model_class: ClassVar[str] = "lightning_collab.models.factors:ImplicitFactors"
    by_gradient: ClassVar[bool] = False
    ranks: ClassVar[bool] = True
    group_names: ClassVar[tuple[str, ...]] = ("embeddings",)

    name: Literal["implicit_least_squares"] = "implicit_least_squares"
    # Length of the embedding of a user and of an item.
    factors: Annotated[int, Field(ge=1, le=MOST)] = 64
    # Of a pair that was not seen, where a chosen one has 1.
    unobserved_weight: Annotated[float, Field(gt=0, le=1e6)] = 0.2
    # Of squared factors; grows with a row's pairs.
    regularization: Annotated[float, Field(gt=0, le=1e12)] = 0.3
    # Power to which it grows with them; 0: the same for all rows.
    frequency_scaling: Annotated[float, Field(ge=0, le=2)] = 0.5
    # The lowest rating of an item that somebody chose; `all`: whatever was rated was chosen.
    positives: Positives = "all"
    # Factors start uniform in (-init_range, init_range).
    init_range: Annotated[float, Field(gt=0, le=100)] = 0.1


class EaseConfig(ModelConfig):
    """A linear autoencoder of items in closed form."""

    model_class: ClassVar[str] = "lightning_collab.models.ease:Ease"
    by_gradient: ClassVar[bool] = False
    ranks: ClassVar[bool] = True
    group_names: ClassVar[tuple[str, ...]] = ()

    name: Literal["ease"] = "ease"
    # It has none, whatever is said here.
    factors: Annotated[int, Field(ge=0, le=MOST)] = 0
    # Of squared weights (lambda).
    regularization: Annotated[float, Field(gt=0, le=1e12)] = 400.0
    # The lowest rating of an item that somebody chose; `all`: whatever was rated was chosen.
    positives: Positives = "all"

    def bytes_needed(self, items: int) -> int:
        """Weights, and the matrix that they are solved in, in float32."""
        return 3 * 4 * items**2


class BayesianFactorsConfig(ModelConfig):
    """Factors, biases and effects of time by Gibbs sampling."""

    model_class: ClassVar[str] = "lightning_collab.models.bayesian_factors:BayesianFactors"
    by_gradient: ClassVar[bool] = False
    takes_features: ClassVar[bool] = True
    keeps_samples: ClassVar[bool] = True

    name: Literal["bayesian_factors"] = "bayesian_factors"
    # Length of the embedding of a user and of an item.
    factors: Annotated[int, Field(ge=1, le=MOST)] = 16
    # Sweeps before the first sample is kept.
    burn_in: Annotated[int, Field(ge=0, le=MOST)] = 10
    # Most samples to keep; with no more room, every second one is dropped.
    samples: Annotated[int, Field(ge=1, le=MOST)] = 200
    # Whether each user's ratings have a noise of their own.
    user_noise: bool = True
    # Whether each item's ratings have a noise of their own.
    item_noise: bool = True
    # Feature blocks with at most this many rows or columns are regressed on in one draw.
    joint_regression: Annotated[int, Field(ge=0, le=MOST)] = 200

    def check_run(self, max_epochs: int) -> None:
        """Refuse a chain that ends in its burn-in."""
        if self.burn_in >= max_epochs:
            raise ValueError(
                f"model.burn_in: no sample is kept after {self.burn_in} sweeps in a run of "
                f"trainer.max_epochs={max_epochs}; lower the one or raise the other"
            )

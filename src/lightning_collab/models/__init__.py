"""Models that turn a batch into ratings; no training code."""

from lightning_collab.config.model import (
    BayesianFactorsConfig,
    EmbeddingDotBiasConfig,
    EmbeddingNetConfig,
    LeastSquaresFactorsConfig,
    MatrixProductConfig,
    Model,
)
from lightning_collab.models.bayesian_factors import BayesianFactors
from lightning_collab.models.embedding_dot_bias import EmbeddingDotBias
from lightning_collab.models.embedding_net import EmbeddingNet
from lightning_collab.models.least_squares_factors import LeastSquaresFactors
from lightning_collab.models.matrix_product import MatrixProduct
from lightning_collab.models.rating_model import RatingModel
from lightning_collab.models.rating_output import RatingFacts


def build_model(config: Model, facts: RatingFacts) -> RatingModel:
    """The model that a config asks for, with freshly drawn parameters.

    Args:
        config: the `model` section.
        facts: sizes, scale and mean of the training ratings.
    """
    match config:
        case EmbeddingDotBiasConfig():
            return EmbeddingDotBias(config, facts)
        case EmbeddingNetConfig():
            return EmbeddingNet(config, facts)
        case MatrixProductConfig():
            return MatrixProduct(config, facts)
        case LeastSquaresFactorsConfig():
            return LeastSquaresFactors(config, facts)
        case BayesianFactorsConfig():
            return BayesianFactors(config, facts)


__all__ = [
    "BayesianFactors",
    "EmbeddingDotBias",
    "EmbeddingNet",
    "LeastSquaresFactors",
    "MatrixProduct",
    "RatingFacts",
    "RatingModel",
    "build_model",
]

"""Models that turn a batch into ratings; no training code."""

from typing import Any

from lightning_collab.config.model import (
    EmbeddingDotBiasConfig,
    EmbeddingNetConfig,
    LeastSquaresFactorsConfig,
    MatrixProductConfig,
    Model,
)
from lightning_collab.models.embedding_dot_bias import EmbeddingDotBias
from lightning_collab.models.embedding_net import EmbeddingNet
from lightning_collab.models.least_squares_factors import LeastSquaresFactors
from lightning_collab.models.matrix_product import MatrixProduct
from lightning_collab.models.rating_model import RatingModel


def build_model(
    config: Model,
    *,
    user_rows: int,
    item_rows: int,
    rating_range: tuple[float, float],
    mean_rating: float,
) -> RatingModel:
    """The model that a config asks for, with freshly drawn parameters.

    Args:
        config: the `model` section.
        user_rows: known users and the unknown row.
        item_rows: known items and the unknown row.
        rating_range: lowest and highest rating.
        mean_rating: of the training ratings.
    """
    facts: dict[str, Any] = {
        "user_rows": user_rows,
        "item_rows": item_rows,
        "rating_range": rating_range,
        "mean_rating": mean_rating,
    }
    match config:
        case EmbeddingDotBiasConfig():
            return EmbeddingDotBias(config, **facts)
        case EmbeddingNetConfig():
            return EmbeddingNet(config, **facts)
        case MatrixProductConfig():
            return MatrixProduct(config, **facts)
        case LeastSquaresFactorsConfig():
            return LeastSquaresFactors(config, **facts)


__all__ = [
    "EmbeddingDotBias",
    "EmbeddingNet",
    "LeastSquaresFactors",
    "MatrixProduct",
    "RatingModel",
    "build_model",
]

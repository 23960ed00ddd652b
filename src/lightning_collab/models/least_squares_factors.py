"""Factors and biases that are solved for by linear regression, not trained by gradients."""

from lightning_collab.models.config import EmbeddingDotBiasConfig, LeastSquaresFactorsConfig
from lightning_collab.models.embedding_dot_bias import EmbeddingDotBias
from lightning_collab.models.rating_output import DatasetStatistics


class LeastSquaresFactors(EmbeddingDotBias):
    """rating = mean + b_u + b_i + <p_u, q_i>: the dot product with a linear output.

    Example:
        >>> model = lightning_collab.LeastSquaresFactors.for_data(data, factors=16, penalty=2.0)

    Args:
        config: the `model` section.
        statistics: sizes, scale and mean of the training ratings.
    """

    config_class = LeastSquaresFactorsConfig
    description = "factors and biases by alternating ridge regression"
    trained_by = "least_squares"

    config: LeastSquaresFactorsConfig

    def __init__(self, config: LeastSquaresFactorsConfig, statistics: DatasetStatistics) -> None:
        super().__init__(
            EmbeddingDotBiasConfig(
                name="embedding_dot_bias",
                factors=config.factors,
                output="linear",
                range_margin=0.0,
                init_range=config.init_range,
            ),
            statistics,
        )
        self.config = config

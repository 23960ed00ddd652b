"""Factors and biases that are solved for by linear regression, not trained by gradients."""

from lightning_collab.config.model import EmbeddingDotBiasConfig, LeastSquaresFactorsConfig
from lightning_collab.models.embedding_dot_bias import EmbeddingDotBias


class LeastSquaresFactors(EmbeddingDotBias):
    """rating = mean + b_u + b_i + <p_u, q_i>: the dot product with a linear output.

    Args:
        config: the `model` section.
        user_rows: known users and the unknown row.
        item_rows: known items and the unknown row.
        rating_range: lowest and highest rating.
        mean_rating: of the training ratings.
    """

    def __init__(
        self,
        config: LeastSquaresFactorsConfig,
        *,
        user_rows: int,
        item_rows: int,
        rating_range: tuple[float, float],
        mean_rating: float,
    ) -> None:
        super().__init__(
            EmbeddingDotBiasConfig(
                name="embedding_dot_bias",
                factors=config.factors,
                output="linear",
                range_margin=0.0,
                init_range=config.init_range,
            ),
            user_rows=user_rows,
            item_rows=item_rows,
            rating_range=rating_range,
            mean_rating=mean_rating,
        )
        self.config = config

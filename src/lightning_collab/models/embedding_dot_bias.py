"""EmbeddingDotBias: the dot product of a user's and an item's factors, plus both biases."""

from torch import Tensor, nn

from lightning_collab.config.model import EmbeddingDotBiasConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.models.embedding_table import embedding_table
from lightning_collab.models.rating_facts import RatingFacts
from lightning_collab.models.rating_model import RatingModel
from lightning_collab.models.rating_output import RatingOutput


class EmbeddingDotBias(RatingModel):
    """rating = output(<p_u, q_i> + b_u + b_i), the biased matrix factorisation of the lecture.

    Koren, Bell and Volinsky (2009), "Matrix factorization techniques for recommender systems",
    equation 4, with the prediction squeezed into the rating range by a sigmoid.

    Args:
        config: the `model` section.
        facts: sizes, scale and mean of the training ratings.
    """

    def __init__(self, config: EmbeddingDotBiasConfig, facts: RatingFacts) -> None:
        super().__init__()
        self.user_factors = embedding_table(facts.user_rows, config.factors, config.init_range)
        self.item_factors = embedding_table(facts.item_rows, config.factors, config.init_range)
        self.user_bias = embedding_table(facts.user_rows, 1, config.init_range)
        self.item_bias = embedding_table(facts.item_rows, 1, config.init_range)
        self.output = RatingOutput(config, facts)

    def rate(self, rows: dict[str, tuple[Tensor, Tensor]], batch: RatingBatch) -> Tensor:
        """Predicted ratings, float [B]."""
        user_factors, item_factors = rows["embeddings"]
        user_bias, item_bias = rows["biases"]
        raw = (user_factors * item_factors).sum(1) + (user_bias + item_bias).squeeze(1)
        rating: Tensor = self.output(raw)
        return rating

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """`embeddings` and `biases`."""
        return {
            "embeddings": [*self.user_factors.parameters(), *self.item_factors.parameters()],
            "biases": [*self.user_bias.parameters(), *self.item_bias.parameters()],
        }

    def lookup_tables(self) -> dict[str, dict[str, nn.Embedding]]:
        """Factors and biases of users and items."""
        return {
            "embeddings": {"users": self.user_factors, "items": self.item_factors},
            "biases": {"users": self.user_bias, "items": self.item_bias},
        }

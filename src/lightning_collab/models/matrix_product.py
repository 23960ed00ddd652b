"""The rating matrix as a product X Y^T, and nothing else."""

from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models.config import MatrixProductConfig
from lightning_collab.models.embedding_table import EmbeddingTable
from lightning_collab.models.item_scores import DOT_PRODUCT, DotProductScores, Rows
from lightning_collab.models.rating_model import RatingModel
from lightning_collab.models.rating_output import DatasetStatistics


class MatrixProduct(RatingModel):
    """rating = <p_u, q_i>: no bias, no sigmoid, as the lecture writes it for all pairs at once.

    Example:
        >>> model = lightning_collab.MatrixProduct.for_data(data, factors=16)

    Args:
        config: the `model` section.
        statistics: sizes, scale and mean of the training ratings.
    """

    config_class = MatrixProductConfig
    description = "dot product of a user's and an item's factors"
    has_biases = False

    def __init__(self, config: MatrixProductConfig, statistics: DatasetStatistics) -> None:
        super().__init__(config)
        self.user_factors = EmbeddingTable(statistics.user_rows, config.factors, config.init_range)
        self.item_factors = EmbeddingTable(statistics.item_rows, config.factors, config.init_range)

    def rate(self, rows: Rows, batch: RatingBatch, effects: Tensor | None = None) -> Tensor:
        """Predicted ratings, float [B]."""
        users, items = rows["embeddings"]
        return (users * items).sum(1)

    def score_all(
        self, users: dict[str, Tensor], items: dict[str, Tensor], batch: RatingBatch
    ) -> Tensor:
        """One matrix product, float [U, I]."""
        return users["embeddings"] @ items["embeddings"].T

    def numpy_formula(self) -> tuple[str, ...]:
        """The dot product itself."""
        return (DOT_PRODUCT, "rating = raw")

    def item_scores(self) -> DotProductScores:
        """The ratings themselves."""
        return DotProductScores(self.effective_tables(), self.rate_rows)

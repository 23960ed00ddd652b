"""Factors of what was chosen, solved for by least squares over all pairs."""

from torch import Tensor

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models.config import ImplicitLeastSquaresConfig
from lightning_collab.models.embedding_table import EmbeddingTable
from lightning_collab.models.item_scores import DOT_PRODUCT, DotProductScores, Rows
from lightning_collab.models.rating_model import RatingModel
from lightning_collab.models.rating_output import DatasetStatistics


class ImplicitFactors(RatingModel):
    """score = <p_u, q_i>, near 1 for what was chosen and near 0 for everything else.

    Example:
        >>> model = lightning_collab.ImplicitFactors.for_data(data, factors=16)

    Args:
        config: the `model` section.
        statistics: sizes.
    """

    config_class = ImplicitLeastSquaresConfig
    description = "dot product of factors by implicit alternating least squares"
    trained_by = "implicit"
    has_biases = False

    config: ImplicitLeastSquaresConfig

    def __init__(self, config: ImplicitLeastSquaresConfig, statistics: DatasetStatistics) -> None:
        super().__init__(config)
        self.user_factors = EmbeddingTable(statistics.user_rows, config.factors, config.init_range)
        self.item_factors = EmbeddingTable(statistics.item_rows, config.factors, config.init_range)

    def rate(self, rows: Rows, batch: RatingBatch, effects: Tensor | None = None) -> Tensor:
        """Scores, float [B]."""
        users, items = rows["embeddings"]
        return (users * items).sum(1)

    def numpy_formula(self) -> tuple[str, ...]:
        """The dot product itself."""
        return (DOT_PRODUCT, "rating = raw")

    def item_scores(self) -> DotProductScores:
        """The scores themselves."""
        return DotProductScores(self.effective_tables(), self.rate_rows)

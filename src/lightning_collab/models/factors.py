"""Factor models: ratings and scores grow with the dot product of a user's and an item's factors."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_collab.config.model import ModelConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.models.config import (
    EmbeddingDotBiasConfig,
    ImplicitLeastSquaresConfig,
    LeastSquaresFactorsConfig,
    MatrixProductConfig,
)
from lightning_collab.models.embedding_table import EmbeddingTable
from lightning_collab.models.feature_rows import MappingTables
from lightning_collab.models.item_scores import (
    BIASED_DOT_PRODUCT,
    DOT_PRODUCT,
    DotProductScores,
    Rows,
)
from lightning_collab.models.rating_model import RatingModel
from lightning_collab.models.rating_output import DatasetStatistics, Output, RatingOutput


class EmbeddingDotBias(RatingModel):
    """rating = output(<p_u, q_i> + b_u + b_i), the biased matrix factorization of the lecture.

    Koren, Bell and Volinsky (2009), "Matrix factorization techniques for recommender systems",
    equation 4, with the prediction squeezed into the rating range by a sigmoid.

    With features, p_u = own row of u + f_u M, where f_u are the features of u, and the same for
    biases and for items. With the history this is SVD++ (Koren 2008, "Factorization meets the
    neighborhood", equation 15), from both sides. Effects of time are added to the biases.

    Example:
        >>> model = lightning_collab.EmbeddingDotBias.for_data(data, factors=16, output="linear")

    Args:
        config: the `model` section.
        statistics: sizes, scale and mean of the training ratings; features.
    """

    config_class: ClassVar[type[ModelConfig]] = EmbeddingDotBiasConfig
    description = "dot product of a user's and an item's factors plus both biases"
    formula_parts = ("output",)

    def __init__(self, config: EmbeddingDotBiasConfig, statistics: DatasetStatistics) -> None:
        super().__init__(config, statistics)
        self.user_factors = EmbeddingTable(statistics.user_rows, config.factors, config.init_range)
        self.item_factors = EmbeddingTable(statistics.item_rows, config.factors, config.init_range)
        self.user_bias = EmbeddingTable(statistics.user_rows, 1, config.init_range)
        self.item_bias = EmbeddingTable(statistics.item_rows, 1, config.init_range)
        self.feature_factors = MappingTables(self.features(), config.factors, config.init_range)
        self.feature_bias = MappingTables(self.features(), 1, config.init_range)
        self.output = RatingOutput(config, statistics)

    def rate(self, rows: Rows, batch: RatingBatch, effects: Tensor | None = None) -> Tensor:
        """Predicted ratings, float [B]."""
        rating: Tensor = self.output(self.score(rows, batch, effects))
        return rating

    def score(self, rows: Rows, batch: RatingBatch, effects: Tensor | None = None) -> Tensor:
        """Dot product, biases and effects, float [B]."""
        user_factors, item_factors = rows["embeddings"]
        user_bias, item_bias = rows["biases"]
        raw = (user_factors * item_factors).sum(1) + (user_bias + item_bias).squeeze(1)
        return raw if effects is None else raw + effects.sum(1)

    def score_all(
        self, users: dict[str, Tensor], items: dict[str, Tensor], batch: RatingBatch
    ) -> Tensor:
        """One matrix product, float [U, I]."""
        biases = users["biases"] + items["biases"].T
        return torch.addmm(biases, users["embeddings"], items["embeddings"].T)

    def mapping_tables(self) -> dict[str, dict[str, nn.Embedding]]:
        """From features to factors and to biases."""
        if not self.features():
            return {}
        return {"embeddings": self.feature_factors.by_side(), "biases": self.feature_bias.by_side()}

    @property
    def raw_output(self) -> Output:
        """That of the rating output."""
        return self.output.constants()

    def numpy_formula(self) -> tuple[str, ...]:
        """Dot product, biases, output."""
        return (*BIASED_DOT_PRODUCT, self.output.numpy_formula())

    def item_scores(self) -> DotProductScores:
        """The raw numbers, which the rating grows with."""
        return DotProductScores(self.effective_tables(), self.rate_rows, self.output)


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

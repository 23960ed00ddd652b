"""`model=distance`: who likes what is near."""

from typing import Literal

import torch

from lightning_collab.config.model import ModelConfig
from lightning_collab.models import EmbeddingTable, RatingModel


class DistanceConfig(ModelConfig):
    """Keys of `model=distance`."""

    name: Literal["distance"] = "distance"
    # Length of the embedding of a user and of an item.
    factors: int = 8
    # Embeddings and biases start uniform in (-init_range, init_range).
    init_range: float = 0.1


class Distance(RatingModel):
    """rating = mean + b_u + b_i - |p_u - q_i|^2."""

    config_class = DistanceConfig
    description = "biases less the squared distance of both embeddings"

    def __init__(self, config, statistics):
        super().__init__(config, statistics)
        size = config.init_range
        self.user_factors = EmbeddingTable(statistics.user_rows, config.factors, size)
        self.item_factors = EmbeddingTable(statistics.item_rows, config.factors, size)
        self.user_bias = EmbeddingTable(statistics.user_rows, 1, size)
        self.item_bias = EmbeddingTable(statistics.item_rows, 1, size)
        self.register_buffer("mean", torch.tensor(statistics.mean_rating))

    def rate(self, rows, batch, effects=None):
        (users, items), (user_bias, item_bias) = rows["embeddings"], rows["biases"]
        return self.mean + (user_bias + item_bias).squeeze(1) - (users - items).square().sum(1)

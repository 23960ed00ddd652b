"""EmbeddingNet: both embeddings side by side, through one hidden layer."""

import torch
from torch import Tensor, nn

from lightning_collab.config.model import EmbeddingNetConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.models.batch_dropout import BatchDropout
from lightning_collab.models.embedding_table import embedding_table
from lightning_collab.models.rating_facts import RatingFacts
from lightning_collab.models.rating_model import RatingModel
from lightning_collab.models.rating_output import RatingOutput


class EmbeddingNet(RatingModel):
    """rating = output(W2 dropout(relu(W1 dropout([p_u, q_i]) + c1)) + c2), as in the lecture.

    Args:
        config: the `model` section.
        facts: sizes, scale and mean of the training ratings.
    """

    def __init__(self, config: EmbeddingNetConfig, facts: RatingFacts) -> None:
        super().__init__()
        self.user_factors = embedding_table(facts.user_rows, config.factors, config.init_range)
        self.item_factors = embedding_table(facts.item_rows, config.factors, config.init_range)
        self.embedding_dropout = BatchDropout(config.embedding_dropout, stream=0)
        self.hidden = nn.Linear(2 * config.factors, config.hidden)
        self.hidden_dropout = BatchDropout(config.hidden_dropout, stream=1)
        self.last = nn.Linear(config.hidden, 1)
        self.output = RatingOutput(config, facts)

    def rate(self, rows: dict[str, tuple[Tensor, Tensor]], batch: RatingBatch) -> Tensor:
        """Predicted ratings, float [B]."""
        pair = torch.cat(rows["embeddings"], dim=1)
        hidden = torch.relu(self.hidden(self.embedding_dropout(pair, batch)))
        rating: Tensor = self.output(self.last(self.hidden_dropout(hidden, batch)).squeeze(1))
        return rating

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """`embeddings`, `hidden` and `output`."""
        return {
            "embeddings": [*self.user_factors.parameters(), *self.item_factors.parameters()],
            "hidden": list(self.hidden.parameters()),
            "output": list(self.last.parameters()),
        }

    def lookup_tables(self) -> dict[str, dict[str, nn.Embedding]]:
        """Embeddings of users and items."""
        return {"embeddings": {"users": self.user_factors, "items": self.item_factors}}

"""EmbeddingNet: both embeddings side by side, through one hidden layer, with dropout."""

import torch
from torch import Tensor, nn

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models.config import EmbeddingNetConfig
from lightning_collab.models.embedding_table import EmbeddingTable
from lightning_collab.models.feature_rows import MappingTables
from lightning_collab.models.item_scores import Rows
from lightning_collab.models.rating_model import RatingModel
from lightning_collab.models.rating_output import DatasetStatistics, RatingOutput


class BatchDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with masks drawn from `batch.draw_seed`.

    The mask of the whole batch is drawn on every rank and each takes its rows of it, so that any
    number of ranks trains the same network, and a resumed run the same as an uninterrupted one.

    Args:
        probability: of an entry to be zeroed; the others are scaled by 1/(1 - probability).
        stream: tells apart the layers of one model.
    """

    def __init__(self, probability: float, stream: int) -> None:
        super().__init__()
        self.probability = probability
        self.stream = stream
        # The mask of the next batch, where a step that is recorded must draw nothing.
        self.ahead: Tensor | None = None

    def forward(self, x: Tensor, batch: RatingBatch) -> Tensor:
        """Entries dropped while training, `x` itself otherwise.

        Args:
            x: float [B, width].
            batch: the batch that `x` was made of.
        """
        if not self.training or self.probability == 0:
            return x
        kept = self.ahead
        if kept is None:
            rows = batch.whole_size or len(x)
            kept = torch.empty(rows, x.shape[1], device=x.device, dtype=x.dtype)
            self.draw(kept, batch.draw_seed)
        return x * kept[batch.start : batch.start + len(x)] / (1 - self.probability)

    def draw(self, mask: Tensor, seed: int) -> None:
        """Fill a mask of a whole batch: 1 where an entry is kept, else 0.

        Args:
            mask: float [B, width], changed in place.
            seed: `draw_seed` of the batch.
        """
        if self.probability == 0:
            mask.fill_(1)
            return
        generator = torch.Generator(mask.device).manual_seed(2 * seed + self.stream)
        mask.bernoulli_(1 - self.probability, generator=generator)

    def extra_repr(self) -> str:
        """For printing."""
        return f"probability={self.probability}"


class EmbeddingNet(RatingModel):
    """rating = output(W2 dropout(relu(W1 dropout([p_u, q_i]) + c1)) + c2), as in the lecture.

    What the features of a user or item are mapped to is one more embedding beside its own. Effects
    of time are added to the last raw number.

    Example:
        >>> model = lightning_collab.EmbeddingNet.for_data(data, factors=16, hidden=20)

    Args:
        config: the `model` section.
        statistics: sizes, scale and mean of the training ratings; features.
    """

    config_class = EmbeddingNetConfig
    description = "both embeddings through a hidden layer"
    formula_parts = ("hidden", "last", "output")
    has_biases = False
    adds_mapped = False

    def __init__(self, config: EmbeddingNetConfig, statistics: DatasetStatistics) -> None:
        super().__init__(config, statistics)
        self.user_factors = EmbeddingTable(statistics.user_rows, config.factors, config.init_range)
        self.item_factors = EmbeddingTable(statistics.item_rows, config.factors, config.init_range)
        self.embedding_dropout = BatchDropout(config.embedding_dropout, stream=0)
        self.hidden = nn.Linear((2 + len(self.features())) * config.factors, config.hidden)
        self.hidden_dropout = BatchDropout(config.hidden_dropout, stream=1)
        self.last = nn.Linear(config.hidden, 1)
        self.feature_factors = MappingTables(self.features(), config.factors, config.init_range)
        self.output = RatingOutput(config, statistics)

    def rate(self, rows: Rows, batch: RatingBatch, effects: Tensor | None = None) -> Tensor:
        """Predicted ratings, float [B]."""
        rating: Tensor = self.output(self.score(rows, batch, effects))
        return rating

    def score(self, rows: Rows, batch: RatingBatch, effects: Tensor | None = None) -> Tensor:
        """What the last layer gives, with effects of time, float [B]."""
        pair = torch.cat(rows["embeddings"], dim=1)
        hidden = torch.relu(self.hidden(self.embedding_dropout(pair, batch)))
        raw: Tensor = self.last(self.hidden_dropout(hidden, batch)).squeeze(1)
        return raw if effects is None else raw + effects.sum(1)

    def with_mapped(self, own: Tensor, mapped: Tensor) -> Tensor:
        """Side by side."""
        return torch.cat([own, mapped], dim=1)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """`embeddings`, `hidden` and `output`; `biases` where there are effects of time."""
        groups = super().parameter_groups()
        return {
            "embeddings": groups.pop("embeddings"),
            "hidden": list(self.hidden.parameters()),
            "output": list(self.last.parameters()),
            **groups,
        }

    def mapping_tables(self) -> dict[str, dict[str, nn.Embedding]]:
        """From features to further embeddings."""
        return {"embeddings": self.feature_factors.by_side()} if self.features() else {}

    def numpy_formula(self) -> tuple[str, ...]:
        """Hidden layer, last layer, output."""
        weights = 'tensors["{0}.weight"].T + tensors["{0}.bias"]'
        return (
            f"hidden = np.concatenate([p, q], 1) @ {weights.format('hidden')}",
            f"raw = (hidden.clip(0) @ {weights.format('last')})[:, 0]",
            self.output.numpy_formula(),
        )

"""What a model must know of the ratings before it can be built, and ratings from its raw number."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from lightning_collab.data.features import FeatureBlock, TimeEffect
from lightning_collab.models.config import EmbeddingModelConfig

if TYPE_CHECKING:
    # Lightning, which the use of a trained model does without.
    from lightning_collab.data.datamodule import RatingDataModule


class DatasetStatistics(NamedTuple):
    """What a model must know of the ratings before it can be built.

    Example:
        >>> statistics = lightning_collab.DatasetStatistics.of(data)
        >>> statistics.rating_range
        (1.0, 5.0)

    Attributes:
        user_rows: known users and the unknown row.
        item_rows: known items and the unknown row.
        rating_range: lowest and highest rating that the scale allows.
        mean_rating: of the training ratings.
        user_features: blocks with `user_rows` rows each.
        item_features: blocks with `item_rows` rows each.
        time_effects: of users and items by period.
        id_dropout: share of the items whose own rows are left out in a step.
    """

    user_rows: int
    item_rows: int
    rating_range: tuple[float, float]
    mean_rating: float
    user_features: tuple[FeatureBlock, ...] = ()
    item_features: tuple[FeatureBlock, ...] = ()
    time_effects: tuple[TimeEffect, ...] = ()
    id_dropout: float = 0.0

    @classmethod
    def of(cls, data: "RatingDataModule") -> "DatasetStatistics":
        """What the training part of some data says.

        Example:
            >>> statistics = lightning_collab.DatasetStatistics.of(data)
            >>> statistics.user_rows  # of 30 users, and the unknown row
            31
        """
        return cls(
            len(data.user_vocabulary),
            len(data.item_vocabulary),
            data.table.rating_range,
            data.mean_rating,
            *data.features,
        )


class Output(NamedTuple):
    """From raw number to rating, as plain numbers.

    Attributes:
        sigmoid: low + span * sigmoid(raw); else low + raw.
        low: rating units.
        span: rating units.
    """

    sigmoid: bool
    low: float
    span: float


class RatingOutput(nn.Module):
    """Sigmoid stretched to the rating range, or the mean rating plus the raw number.

    Args:
        config: `output` is `sigmoid`: low + (high - low) * sigmoid(x), where low and high are the
            ends of the rating range moved outward by `range_margin`; or `linear`: mean + x.
        statistics: the rating range and the mean of the training ratings.
    """

    low: Tensor
    span: Tensor
    mean_rating: Tensor

    def __init__(self, config: EmbeddingModelConfig, statistics: DatasetStatistics) -> None:
        super().__init__()
        self.kind = config.output
        low, high = statistics.rating_range
        margin = config.range_margin
        self.register_buffer("low", torch.tensor(low - margin))
        self.register_buffer("span", torch.tensor(high - low + 2 * margin))
        self.register_buffer("mean_rating", torch.tensor(statistics.mean_rating))

    def forward(self, raw: Tensor) -> Tensor:
        """Ratings of raw numbers, same shape; never in fewer than 32 bits."""
        # To a sum in bfloat16 the mean would be rounded to 1/64.
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        if self.kind == "sigmoid":
            return torch.addcmul(self.low, torch.sigmoid(raw), self.span)
        return raw + self.mean_rating

    def constants(self) -> Output:
        """The same as plain numbers."""
        if self.kind == "sigmoid":
            return Output(True, float(self.low), float(self.span))
        return Output(False, float(self.mean_rating), 1.0)

    def numpy_formula(self) -> str:
        """The same as a line of Python, on tensors of an exported model."""
        if self.kind == "sigmoid":
            return 'rating = tensors["output.low"] + tensors["output.span"] / (1 + np.exp(-raw))'
        return 'rating = tensors["output.mean_rating"] + raw'

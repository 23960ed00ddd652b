"""From a model's raw number to a rating."""

from typing import Literal

import torch
from torch import Tensor, nn


class RatingOutput(nn.Module):
    """Sigmoid stretched to the rating range, or the mean rating plus the raw number.

    Args:
        kind: `sigmoid`: low + (high - low) * sigmoid(x), where low and high are the ends of
            `rating_range`, moved outward by `margin`; `linear`: mean_rating + x.
        rating_range: lowest and highest rating.
        margin: in rating units.
        mean_rating: of the training ratings.
    """

    low: Tensor
    span: Tensor
    mean_rating: Tensor

    def __init__(
        self,
        kind: Literal["sigmoid", "linear"],
        rating_range: tuple[float, float],
        margin: float,
        mean_rating: float,
    ) -> None:
        super().__init__()
        self.kind = kind
        low, high = rating_range
        self.register_buffer("low", torch.tensor(low - margin))
        self.register_buffer("span", torch.tensor(high - low + 2 * margin))
        self.register_buffer("mean_rating", torch.tensor(mean_rating))

    def forward(self, raw: Tensor) -> Tensor:
        """Ratings of raw numbers, same shape."""
        if self.kind == "sigmoid":
            return torch.addcmul(self.low, torch.sigmoid(raw), self.span)
        return raw + self.mean_rating

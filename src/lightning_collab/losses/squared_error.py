"""Squared error of ratings, as the lecture has it."""

from torch import Tensor

from lightning_collab.config.loss import SquaredErrorConfig
from lightning_collab.losses.loss import PointwiseLoss

# Training stops when predictions are wrong by so many times the scale, in the mean.
EXPLODED = 100


class SquaredError(PointwiseLoss):
    """The sum of (prediction - rating)^2, so that the loss of a batch is its mean squared error.

    Example:
        >>> loss = lightning_collab.SquaredError()
        >>> float(loss(torch.tensor([3.0, 4.0]), torch.tensor([5.0, 4.0])))
        4.0
    """

    config_class = SquaredErrorConfig

    def __call__(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The sum over B rows, a scalar."""
        return (predicted - target).square().sum()

    def exploded(self, rating_range: tuple[float, float]) -> float:
        """That of predictions which are wrong by `EXPLODED` times the scale."""
        low, high = rating_range
        return float((EXPLODED * max(abs(low), abs(high), high - low)) ** 2)

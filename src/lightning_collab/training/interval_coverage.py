"""How often a rating lies where the model says that it is likely to lie."""

import torch
from torch import Tensor
from torchmetrics import Metric

INTERVALS = {50: 0.6744897501960817, 80: 1.2815515655446004, 95: 1.959963984540054}
"""Percent of a normal distribution within so many standard deviations of its mean."""


class IntervalCoverage(Metric):
    """Shares of ratings within the 50, 80 and 95% intervals, and the mean standard deviation.

    Args:
        prefix: of the names, such as `val/`.
    """

    full_state_update = False
    inside: Tensor
    deviations: Tensor
    rows: Tensor

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        for name, shape in (("inside", (len(INTERVALS),)), ("deviations", ()), ("rows", ())):
            state = torch.zeros(shape, dtype=torch.float64)
            self.add_state(name, state, dist_reduce_fx="sum")

    def update(self, predicted: Tensor, deviations: Tensor, ratings: Tensor) -> None:
        """Add a batch.

        Args:
            predicted: float [B], centres of the intervals.
            deviations: float [B], standard deviations.
            ratings: float [B], what people gave.
        """
        distances = (ratings - predicted).abs()
        for number, width in enumerate(INTERVALS.values()):
            self.inside[number] += (distances <= width * deviations).sum()
        self.deviations += deviations.double().sum()
        self.rows += len(ratings)

    def compute(self) -> dict[str, Tensor]:
        """Float32 scalars `coverage_50`, `coverage_80`, `coverage_95` and `deviation`."""
        shares = {
            f"{self.prefix}coverage_{percent}": (inside / self.rows).float()
            for percent, inside in zip(INTERVALS, self.inside, strict=True)
        }
        return {**shares, f"{self.prefix}deviation": (self.deviations / self.rows).float()}

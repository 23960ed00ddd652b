"""RMSE and MAE of all rows, and apart of those whose user or item training has never seen."""

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.vocabulary import UNKNOWN_ROW

WARM, COLD = 0, 1


class RatingMetrics(Metric):
    """Root mean squared error and mean absolute error, of all, warm and cold rows.

    A row is cold where its user or its item has no training rating. What is summed is summed in
    double precision and over all ranks before anything is divided, so that any number of ranks
    gives the numbers of one.

    Args:
        prefix: of the names, such as `val/`.
    """

    full_state_update = False
    squared: Tensor
    absolute: Tensor
    rows: Tensor

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        for name in ("squared", "absolute", "rows"):
            self.add_state(name, torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, batch: RatingBatch) -> None:
        """Add a batch.

        Args:
            predicted: float [B], in rating units, as it is to be measured.
            batch: what it was predicted for, with the true ratings.
        """
        errors = (predicted - batch.ratings).double()
        cold = ((batch.users == UNKNOWN_ROW) | (batch.items == UNKNOWN_ROW)).double()
        # Both sums at once, with no look at the data: on a GPU nothing waits.
        kinds = torch.stack([1 - cold, cold])
        self.squared += kinds @ errors.square()
        self.absolute += kinds @ errors.abs()
        self.rows += kinds.sum(1)

    def compute(self) -> dict[str, Tensor]:
        """The metrics so far, float32 scalars.

        Returns:
            `rmse` and `mae`; the same with `_warm` and `_cold` behind where there are such rows.
        """
        squared, absolute, rows = self.squared, self.absolute, self.rows
        named = {"": slice(None), "_warm": slice(WARM, COLD), "_cold": slice(COLD, COLD + 1)}
        metrics = {}
        for suffix, which in named.items():
            count = rows[which].sum()
            if count > 0:
                mean_square = squared[which].sum() / count
                metrics[f"{self.prefix}rmse{suffix}"] = mean_square.sqrt().float()
                metrics[f"{self.prefix}mae{suffix}"] = (absolute[which].sum() / count).float()
        return metrics

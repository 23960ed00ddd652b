"""`metrics.further=[within_half]`: how often a prediction is right to half a star."""

import torch
from torchmetrics import Metric


class WithinHalf(Metric):
    """Share of predictions that are at most half a rating unit off."""

    name = "within_half"
    higher_is_better = True
    full_state_update = False

    def __init__(self):
        super().__init__()
        self.add_state("right", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("all", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted, batch):
        self.right += ((predicted - batch.ratings).abs() <= 0.5).sum()
        self.all += len(predicted)

    def compute(self):
        return self.right / self.all

"""`loss=huber`: squared near the rating, absolute far from it (Huber 1964)."""

from torch.nn.functional import huber_loss

from lightning_collab.losses import PointwiseLoss


class Huber(PointwiseLoss):
    """0.5 e^2 where |e| < 1, else |e| - 0.5, of the error e."""

    name = "huber"

    def __call__(self, predicted, target):
        return huber_loss(predicted, target, reduction="sum")

"""What the training makes small: one module a loss."""

from lightning_collab.config.loss import LossConfig
from lightning_collab.config.registry import class_at
from lightning_collab.losses.loss import Loss, PairwiseLoss, PointwiseLoss, UserLoss
from lightning_collab.losses.squared_error import SquaredError


def build_loss(config: LossConfig) -> Loss:
    """The loss that a config asks for.

    Args:
        config: the `loss` section.
    """
    loss: Loss = class_at(config.loss_class)(config)
    return loss


__all__ = ["Loss", "PairwiseLoss", "PointwiseLoss", "SquaredError", "UserLoss", "build_loss"]

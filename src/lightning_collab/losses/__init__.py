"""What the training makes small: one module a loss."""

from lightning_collab.config.loss import LossConfig
from lightning_collab.config.registry import LOSSES
from lightning_collab.losses.contract import check_loss
from lightning_collab.losses.loss import Loss, PairwiseLoss, PointwiseLoss, UserLoss
from lightning_collab.losses.squared_error import SquaredError


def build_loss(config: LossConfig) -> Loss:
    """The loss that a config asks for.

    Args:
        config: the `loss` section.

    Raises:
        ConfigError: a loss of others breaks its contract.
    """
    loss: Loss = LOSSES.implementation(config)(config)
    if not LOSSES.is_ours(config.name):
        check_loss(loss)
    return loss


__all__ = ["Loss", "PairwiseLoss", "PointwiseLoss", "SquaredError", "UserLoss", "build_loss"]

"""What the training makes small: each loss by its name."""

from lightning_collab.config.model import LossConfig, SoftmaxConfig
from lightning_collab.config.registry import LOSSES
from lightning_collab.data.feed import Feed
from lightning_collab.losses.contract import check_loss
from lightning_collab.losses.loss import (
    BCE,
    BPR,
    Loss,
    PairwiseLoss,
    PointwiseLoss,
    Softmax,
    SquaredError,
    UserLoss,
)


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


def feed_of(loss: Loss) -> Feed:
    """What a loss is given of the training part.

    Args:
        loss: of any kind.
    """
    config = loss.config
    if isinstance(loss, PointwiseLoss):
        return Feed()
    barred = getattr(config, "dislikes", "negative") == "ignore"
    feed = Feed(
        positives=getattr(config, "positives", "all"),
        barred=barred,
        popularity_power=getattr(config, "popularity_power", 0.0),
    )
    if isinstance(loss, PairwiseLoss):
        return feed._replace(of="pairs", negatives=loss.negatives)
    if isinstance(config, SoftmaxConfig):
        feed = feed._replace(catalogue_limit=config.catalogue_limit, samples=config.samples)
    return feed._replace(of="users")


__all__ = [
    "BCE",
    "BPR",
    "Loss",
    "PairwiseLoss",
    "PointwiseLoss",
    "Softmax",
    "SquaredError",
    "UserLoss",
    "build_loss",
    "feed_of",
]

"""What a loss of others must be: looked at once, on a few rows, before any step is taken."""

import torch
from torch import Tensor

from lightning_collab.errors import ConfigError, shape_of
from lightning_collab.losses.loss import Loss, PairwiseLoss, PointwiseLoss, UserLoss

KINDS = (PointwiseLoss, PairwiseLoss, UserLoss)


def broken_by(loss: type[Loss]) -> list[str]:
    """What a class says that only losses of ours can say, a line each.

    Args:
        loss: a subclass with a `config_class`.
    """
    lines = []
    if not issubclass(loss, KINDS):
        kinds = ", ".join(kind.__name__ for kind in KINDS)
        lines.append(f"it must be a subclass of one of {kinds}")
    elif getattr(loss.__call__, "__isabstractmethod__", False):
        lines.append("it has no __call__")
    if loss.config_class.fused:
        lines.append(
            f"{loss.config_class.__name__}.fused must be False: the fused engine has kernels for "
            "the built-in losses only"
        )
    return lines


def check_loss(loss: Loss) -> None:
    """Refuse a loss that does not give one number with a gradient.

    Args:
        loss: of others.

    Raises:
        ConfigError: the message names the class and what was expected.
    """
    scores = torch.tensor([1.5, 2.0, 3.0, 4.5], requires_grad=True)
    what = f"loss={loss.config.name}: {type(loss).__name__}"
    try:
        value, given = _tried(loss, scores)
    except Exception as error:
        raise ConfigError(f"{what} failed on 4 rows: {type(error).__name__}: {error}") from error
    if not isinstance(value, Tensor) or value.shape != () or not value.requires_grad:
        found = shape_of(value)
        if isinstance(value, Tensor) and not value.requires_grad:
            found += " without a gradient"
        raise ConfigError(
            f"{what} must return the sum over the rows, a scalar with a gradient; for {given} it "
            f"gave {found}"
        )
    if not bool(torch.isfinite(value)):
        raise ConfigError(f"{what} gave {float(value)} for {given}")


def _tried(loss: Loss, scores: Tensor) -> tuple[object, str]:
    if isinstance(loss, PointwiseLoss):
        return loss(scores, torch.tensor([1.0, 2.0, 4.0, 5.0])), "4 predictions and targets"
    if isinstance(loss, PairwiseLoss):
        drawn = scores.flip(0)[:, None].expand(4, loss.negatives)
        return loss(scores, drawn), f"4 scores and {loss.negatives} drawn for each"
    assert isinstance(loss, UserLoss)
    users, items = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    return loss(scores.view(2, 2), users, items), "2 users of 2 items"

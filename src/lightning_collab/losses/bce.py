"""Binary cross-entropy: chosen items are 1, drawn ones 0."""

from torch import Tensor
from torch.nn.functional import softplus

from lightning_collab.config.loss import BCEConfig
from lightning_collab.losses.loss import PairwiseLoss


class BCE(PairwiseLoss):
    """The sum over choices of -log sigmoid(s_ui) - sum_j log(1 - sigmoid(s_uj)) over drawn j.

    He et al. (2017), "Neural collaborative filtering", equation 7.

    Example:
        >>> loss = lightning_collab.BCE()
        >>> round(float(loss(torch.zeros(1), torch.zeros(1, 4))), 4)  # five times log 2
        3.4657
    """

    config_class = BCEConfig

    def __call__(self, chosen: Tensor, drawn: Tensor, weights: Tensor | None = None) -> Tensor:
        """The sum over B rows, a scalar."""
        losses = softplus(-chosen) + softplus(drawn).sum(1)
        return losses.sum() if weights is None else losses @ weights

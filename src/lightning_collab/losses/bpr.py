"""Bayesian personalized ranking: what was chosen scores above what was not."""

from torch import Tensor
from torch.nn.functional import softplus

from lightning_collab.config.loss import BPRConfig
from lightning_collab.losses.loss import PairwiseLoss


class BPR(PairwiseLoss):
    """The sum over choices and drawn items j of -log sigmoid(s_ui - s_uj).

    Rendle, Freudenthaler, Gantner and Schmidt-Thieme (2009), "BPR: Bayesian personalized ranking
    from implicit feedback", section 4.1.

    Example:
        >>> loss = lightning_collab.BPR()
        >>> round(float(loss(torch.zeros(1), torch.zeros(1, 1))), 4)  # log 2
        0.6931
    """

    config_class = BPRConfig

    def __call__(self, chosen: Tensor, drawn: Tensor, weights: Tensor | None = None) -> Tensor:
        """The sum over B rows, a scalar."""
        losses = softplus(drawn - chosen[:, None]).sum(1)
        return losses.sum() if weights is None else losses @ weights

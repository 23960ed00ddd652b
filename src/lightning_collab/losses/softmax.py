"""Softmax over the catalog: each choice against all other items."""

import torch
from torch import Tensor

from lightning_collab.config.loss import SoftmaxConfig
from lightning_collab.losses.loss import UserLoss


class Softmax(UserLoss):
    """The sum over choices of -log(exp(s_ui) / sum_j exp(s_uj)), the multinomial likelihood.

    Liang, Krishnan, Hoffman and Jebara (2018), "Variational autoencoders for collaborative
    filtering", equation 2. All choices of a user share one row of scores. Where items are drawn
    for the catalog, their scores are corrected for how often they are drawn (Bengio and Senecal
    2008, "Adaptive importance sampling to accelerate training of a neural probabilistic language
    model").

    Example:
        >>> loss = lightning_collab.Softmax()
        >>> scores = torch.zeros(1, 4)  # one user, four items: log 4 for the one that was chosen
        >>> round(float(loss(scores, torch.tensor([0]), torch.tensor([2]))), 4)
        1.3863
    """

    config_class = SoftmaxConfig
    starts_at_popularity = True
    ignores_level = True

    def __call__(
        self, scores: Tensor, users: Tensor, items: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """The sum over P choices, a scalar."""
        losses = torch.logsumexp(scores, dim=1)[users] - scores[users, items]
        return losses.sum() if weights is None else losses @ weights

    def sampled(
        self, chosen: Tensor, users: Tensor, drawn: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """The same with drawn items in place of the catalog.

        Args:
            chosen: float [P], scores of the chosen items.
            users: int64 [P], the row in `drawn` of each chosen item's user.
            drawn: float [U, S], scores of the drawn items less the log of how often each is drawn
                in the mean; -inf for what the user chose.
            weights: float [P], how much each choice counts; None: all alike.
        """
        losses = torch.logaddexp(chosen, torch.logsumexp(drawn, dim=1)[users]) - chosen
        return losses.sum() if weights is None else losses @ weights

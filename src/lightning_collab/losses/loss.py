"""What the training makes small, as a part that can be exchanged, and the losses that there are.

There are three kinds, by what they compare: a number with its target (`PointwiseLoss`), an item
that a user chose with others (`PairwiseLoss`), and one row of scores of all items with the items
that a user chose (`UserLoss`). A loss says by its kind which batches it is given.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, softplus

from lightning_collab.config.model import (
    BCEConfig,
    BPRConfig,
    LossConfig,
    RankingLossConfig,
    SoftmaxConfig,
    SquaredErrorConfig,
)


class Loss(ABC):  # noqa: B024 (its kinds have the methods)
    """What every loss says of itself; derive from one of the three kinds below.

    Args:
        config: the `loss` section of the run; None: as shipped.
    """

    # The class of its section in the config, which says what it measures; a loss that has keys
    # names one of its own.
    config_class: ClassVar[type[LossConfig]] = LossConfig
    # Whether a model is asked for `ratings` (on the scale, after its output) or for raw `scores`.
    of: ClassVar[Literal["ratings", "scores"]] = "ratings"

    def __init__(self, config: LossConfig | None = None) -> None:
        self.config = config or self._shipped_config()

    @classmethod
    def _shipped_config(cls) -> LossConfig:
        if cls.config_class.model_fields["name"].is_required():
            # Of a loss without keys, which needs no config class of its own.
            return cls.config_class(name=getattr(cls, "name", cls.__name__))
        return cls.config_class()  # type: ignore[call-arg]

    def exploded(self, rating_range: tuple[float, float]) -> float | None:
        """The mean loss above which training has gone wrong, though it is still a number.

        Args:
            rating_range: lowest and highest rating.

        Returns:
            None: only a loss that is not a number stops a run.
        """
        return None


class PointwiseLoss(Loss):
    """Compares a number for each row of a batch with its target.

    Example:
        >>> class AbsoluteError(lightning_collab.PointwiseLoss):
        ...     def __call__(self, predicted, target):
        ...         return (predicted - target).abs().sum()
        >>> module = lightning_collab.RatingModule(model, AbsoluteError())
    """

    @abstractmethod
    def __call__(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The sum of the losses of B rows.

        Args:
            predicted: float [B], ratings or scores, as `of` says.
            target: float [B], in rating units.

        Returns:
            A scalar with a gradient. It is divided by the size of the whole batch over all ranks
            afterwards, so that shares of a batch add up.
        """


class PairwiseLoss(Loss):
    """Compares the score of an item that a user chose with those of items drawn for it."""

    config_class: ClassVar[type[LossConfig]] = RankingLossConfig
    of: ClassVar[Literal["ratings", "scores"]] = "scores"

    @property
    def negatives(self) -> int:
        """Items drawn for each chosen one: as the config says, else one."""
        return int(getattr(self.config, "negatives", 1))

    @abstractmethod
    def __call__(self, chosen: Tensor, drawn: Tensor, weights: Tensor | None = None) -> Tensor:
        """The sum of the losses of B rows.

        Args:
            chosen: float [B], scores of the items that the users chose.
            drawn: float [B, negatives], scores of items that these users did not choose.
            weights: float [B], how much each row counts; None: all alike. A loss that has no such
                argument is for data without weights.

        Returns:
            A scalar with a gradient.
        """


class UserLoss(Loss):
    """Compares one row of scores of the whole catalog with all that a user chose."""

    config_class: ClassVar[type[LossConfig]] = RankingLossConfig
    of: ClassVar[Literal["ratings", "scores"]] = "scores"
    # Whether the bias of each item starts at the log of how often it was chosen.
    starts_at_popularity: ClassVar[bool] = False
    # Whether a number that is added to all scores of a user changes nothing, so that biases of
    # users have no gradient but rounding errors.
    ignores_level: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self, scores: Tensor, users: Tensor, items: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """The sum of the losses of P chosen items of U users.

        Args:
            scores: float [U, items], a row of each user of the batch; -inf for what is neither
                chosen nor a negative.
            users: int64 [P], the row in `scores` of each chosen item's user.
            items: int64 [P], the column in `scores` of each chosen item.
            weights: float [P], how much each choice counts; None: all alike. A loss that has no
                such argument is for data without weights.

        Returns:
            A scalar with a gradient.
        """


# Training stops when predictions are wrong by so many times the scale, in the mean.
EXPLODED = 100


class SquaredError(PointwiseLoss):
    """The sum of (prediction - rating)^2, so that the loss of a batch is its mean squared error.

    Example:
        >>> loss = lightning_collab.SquaredError()
        >>> float(loss(torch.tensor([3.0, 4.0]), torch.tensor([5.0, 4.0])))
        4.0
    """

    config_class = SquaredErrorConfig

    def __call__(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The sum over B rows, a scalar."""
        kind = torch.promote_types(predicted.dtype, target.dtype)
        squares: Tensor = mse_loss(predicted.to(kind), target.to(kind), reduction="sum")
        return squares

    def exploded(self, rating_range: tuple[float, float]) -> float:
        """That of predictions which are wrong by `EXPLODED` times the scale."""
        low, high = rating_range
        return float((EXPLODED * max(abs(low), abs(high), high - low)) ** 2)


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

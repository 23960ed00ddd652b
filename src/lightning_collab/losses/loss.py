"""What the training makes small, as a part that can be exchanged.

There are three kinds, by what they compare: a number with its target (`PointwiseLoss`), an item
that a user chose with others (`PairwiseLoss`), and one row of scores of all items with the items
that a user chose (`UserLoss`). A loss says by its kind which batches it is given.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor

from lightning_collab.config.loss import LossConfig, RankingLossConfig


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

"""`conf/model`, `conf/loss`, `conf/metrics`: what rates, what is made small, what is measured."""

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, PlainValidator, SerializeAsAny

from lightning_collab.config.registry import LOSSES, METRICS, MODELS
from lightning_collab.config.section import MOST, Section, choose_by_name, suggestion


class ModelConfig(Section):
    """Keys that every model has.

    A model of your own has a subclass of this as its `config_class`, with a `name` of one value
    and a default for each key: see docs/extending.md.

    Example:
        >>> class DistanceConfig(lightning_collab.ModelConfig):
        ...     name: Literal["distance"] = "distance"
        ...     # Embeddings start uniform in (-init_range, init_range).
        ...     init_range: float = 0.1
        >>> DistanceConfig(factors=8).init_range
        0.1
    """

    chosen_from = MODELS
    # Of a model of ours, the place of its class, as "module:Class".
    model_class: ClassVar[str]
    # Its parameter groups.
    group_names: ClassVar[tuple[str, ...]] = ("embeddings", "biases")
    # Whether it is trained by gradient descent, so that optimizer, schedule and batches matter.
    by_gradient: ClassVar[bool] = True
    # Whether it can be told more than ids.
    takes_features: ClassVar[bool] = False
    # Whether it is made of many samples, so that its checkpoints are large.
    keeps_samples: ClassVar[bool] = False
    # Whether it gives scores to rank by, whatever the loss, in place of ratings.
    ranks: ClassVar[bool] = False
    # Whether the fused engine has kernels for it.
    fused: ClassVar[bool] = False
    # Whether those know batches of ids alone: no features, no threads on single ratings.
    fused_ids_only: ClassVar[bool] = False

    name: str
    # Length of the embedding of a user and of an item.
    factors: Annotated[int, Field(ge=1, le=MOST)] = 50

    def check_run(self, max_epochs: int) -> None:
        """Refuse a run that makes nothing of this model, before any data is read.

        Raises:
            ValueError: the message names the keys.
        """

    def bytes_needed(self, items: int) -> int:
        """Memory for what grows with the square of the catalog.

        Args:
            items: in the catalog.
        """
        return 0

    @property
    def sharded(self) -> bool:
        """Whether its tables are split over the ranks that train it."""
        return False


# The config of one of the models that `MODELS` names.
Model = Annotated[SerializeAsAny[ModelConfig], PlainValidator(choose_by_name(ModelConfig))]


# Which ratings say that an item was chosen: all, or those of at least so much.
Positives = Literal["all"] | float
# Each is drawn and scored for each choice, so that more would take minutes a step.
Negatives = Annotated[int, Field(ge=1, le=100_000)]


class LossConfig(Section):
    """Keys that every loss has, and what is known of it before any data is read.

    A loss of your own that has keys has a subclass of this, or of `RankingLossConfig`, as its
    `config_class`; one without keys needs none. See docs/extending.md.
    """

    chosen_from = LOSSES
    # Place of the class of the loss itself, as "module:Class".
    loss_class: ClassVar[str]
    # Whether the fused engine has kernels for it.
    fused: ClassVar[bool] = False
    # What is measured at validation and test: errors of ratings, or rankings of all items.
    metrics: ClassVar[Literal["ratings", "rankings"]] = "ratings"
    # Whether its batches are users with all that they chose.
    by_user: ClassVar[bool] = False
    # The metric that picks the best checkpoint unless another is named.
    monitor: ClassVar[str] = "val/rmse"
    # Whether less or more of it is better.
    mode: ClassVar[Literal["min", "max"]] = "min"

    name: str


class RankingLossConfig(LossConfig):
    """Of losses that compare scores of items."""

    metrics: ClassVar[Literal["ratings", "rankings"]] = "rankings"
    monitor: ClassVar[str] = "val/ndcg@10"
    mode: ClassVar[Literal["min", "max"]] = "max"

    # The lowest rating of an item that somebody chose; `all`: whatever was rated was chosen.
    positives: Positives = "all"
    # What was rated below it: `negative`, like what was not rated, or left out of the loss.
    dislikes: Literal["ignore", "negative"] = "ignore"


class SquaredErrorConfig(LossConfig):
    """Squared error of ratings."""

    loss_class: ClassVar[str] = "lightning_collab.losses.loss:SquaredError"
    fused: ClassVar[bool] = True

    name: Literal["squared_error"] = "squared_error"


class SoftmaxConfig(RankingLossConfig):
    """Cross-entropy over the catalog, by user."""

    loss_class: ClassVar[str] = "lightning_collab.losses.loss:Softmax"
    fused: ClassVar[bool] = True
    by_user: ClassVar[bool] = True

    name: Literal["softmax"] = "softmax"
    # Most scores of a batch (users times items); above it, items are drawn for the catalog.
    catalogue_limit: Annotated[int, Field(ge=0, le=MOST)] = 1 << 25
    # Items drawn for each batch where the catalog is above the limit.
    samples: Annotated[int, Field(ge=1, le=MOST)] = 1024
    # They are drawn by their number of choices to this power; 0: all alike.
    popularity_power: Annotated[float, Field(ge=0, le=1)] = 0.5


class SampledLossConfig(RankingLossConfig):
    """Of losses that compare each choice with items drawn for it."""

    # Items drawn for each choice, none of which its user chose.
    negatives: Negatives = 1
    # They are drawn by their number of choices to this power; 0: all alike.
    popularity_power: Annotated[float, Field(ge=0, le=1)] = 0.0


class BCEConfig(SampledLossConfig):
    """Binary cross-entropy of chosen and drawn items."""

    loss_class: ClassVar[str] = "lightning_collab.losses.loss:BCE"
    fused: ClassVar[bool] = True

    name: Literal["bce"] = "bce"
    # Items drawn for each choice, none of which its user chose.
    negatives: Negatives = 4


class BPRConfig(SampledLossConfig):
    """Bayesian personalized ranking: a chosen item above a drawn one."""

    loss_class: ClassVar[str] = "lightning_collab.losses.loss:BPR"
    fused: ClassVar[bool] = True

    name: Literal["bpr"] = "bpr"
    # Items are drawn by their number of choices to this power; 0: all alike.
    popularity_power: Annotated[float, Field(ge=0, le=1)] = 0.5


# The config of one of the losses that `LOSSES` names.
Loss = Annotated[SerializeAsAny[LossConfig], PlainValidator(choose_by_name(LossConfig))]


def _known(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"{name!r} is not known; {suggestion(name, METRICS.names)}")
    # Refused now where it cannot be imported, and not after the data have been read.
    METRICS.part(name)
    return name


def _each_once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a name is listed twice")
    return names


# Of each k: means over users, and what is said of all that is shown.
MEANS_OVER_USERS = ("ndcg", "recall", "precision", "mrr", "hit_rate", "map")
OF_WHAT_IS_SHOWN = ("coverage", "mean_popularity", "gini")
RANKING_METRICS = (*MEANS_OVER_USERS, *OF_WHAT_IS_SHOWN)
# Of these, less is better: more items are shown, and less known ones.
LESS_IS_BETTER = ("mean_popularity", "gini")
# What counts as liked where neither the config nor the loss says it: four stars of five.
LIKED = 4.0


def _ascending(top_k: list[int]) -> list[int]:
    if any(later <= earlier for earlier, later in pairwise(top_k)):
        raise ValueError("the numbers must be ascending, without repeats")
    return top_k


# Numbers of first items, each of which has its metrics.
TopK = Annotated[
    list[Annotated[int, Field(ge=1, le=MOST)]], Field(min_length=1), AfterValidator(_ascending)
]


def as_list(top_k: Any) -> Any:
    """One number as the list of it.

    Args:
        top_k: as somebody typed it.
    """
    return [top_k] if isinstance(top_k, int) else top_k


class MetricsConfig(Section):
    """What is measured of rankings, and which metrics of yours or of installed packages."""

    # Names of metrics beside RMSE and MAE, of the validation and of the test part.
    further: Annotated[list[Annotated[str, AfterValidator(_known)]], AfterValidator(_each_once)] = (
        Field(default_factory=list)
    )

    # Numbers of first items that rankings are measured at.
    top_k: TopK = Field(default_factory=lambda: [10, 20])
    # The lowest rating of a held-out item that was liked; `all`: whatever was rated; null: as the
    # loss's positives.
    liked: Positives | None = None
    # Users who are ranked after each epoch, a random sample; null: all.
    users: Annotated[int, Field(ge=1, le=MOST)] | None = None

    def liked_beside(self, positives: Positives | None) -> Positives:
        """What counts as liked in a run: 4 or more where it learns from all ratings.

        Args:
            positives: what the run learns from as chosen; None: it learns ratings.
        """
        if self.liked is not None:
            return self.liked
        return LIKED if positives is None else positives

    @property
    def rankings(self) -> list[str]:
        """What is logged of rankings at validation, where the loss is one that ranks."""
        return [f"val/{name}@{k}" for name in RANKING_METRICS for k in self.top_k]

    @property
    def logged(self) -> list[str]:
        """What further metrics are logged as at validation."""
        return [f"val/{name}" for name in self.further]

    def mode(self, monitor: str) -> Literal["min", "max"]:
        """Which end of a monitored metric is best, `min` or `max`, as its class says.

        Args:
            monitor: as it is logged.
        """
        if monitor in self.logged:
            better = METRICS.part(monitor.removeprefix("val/")).higher_is_better
            return "max" if better else "min"
        if monitor in self.rankings:
            name = monitor.removeprefix("val/").partition("@")[0]
            return "min" if name in LESS_IS_BETTER else "max"
        return "min"

"""`conf/metrics`: what is measured beside RMSE and MAE."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from lightning_collab.config.loss import Positives
from lightning_collab.config.registry import METRICS
from lightning_collab.config.section import MOST, Section, suggestion


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

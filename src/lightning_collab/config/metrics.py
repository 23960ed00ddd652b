"""`conf/metrics`: what is measured beside RMSE and MAE."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lightning_collab.config.registry import METRICS
from lightning_collab.config.section import Section, suggestion


def _known(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"{name!r} is not known; {suggestion(name, METRICS.names)}")
    # Refused now where it cannot be imported, and not after the data have been read.
    METRICS.part(name)
    return name


def _each_once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a name is in it twice")
    return names


class MetricsConfig(Section):
    """Which metrics of yours or of installed packages are computed."""

    # Names of metrics beside RMSE and MAE, of the validation and of the test part.
    further: Annotated[list[Annotated[str, AfterValidator(_known)]], AfterValidator(_each_once)] = (
        Field(default_factory=list)
    )

    @property
    def logged(self) -> list[str]:
        """What they are logged as at validation."""
        return [f"val/{name}" for name in self.further]

    def mode(self, monitor: str) -> Literal["min", "max"]:
        """Which end of a monitored metric is best, `min` or `max`, as its class says.

        Args:
            monitor: as it is logged.
        """
        if monitor in self.logged:
            better = METRICS.part(monitor.removeprefix("val/")).higher_is_better
            return "max" if better else "min"
        return "min"

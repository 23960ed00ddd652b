"""All that a run measures of its predictions: RMSE, MAE, and metrics of others by name."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_collab.config.registry import METRICS
from lightning_collab.data.batches import RatingBatch
from lightning_collab.errors import ConfigError
from lightning_collab.metrics.ratings import RatingMetrics


class RunMetrics(nn.Module):
    """RMSE and MAE, and further metrics, of one part of the ratings.

    Args:
        prefix: of the names, such as `val/`.
        further: names in `METRICS`.

    Raises:
        ConfigError: a metric of others breaks its contract.
    """

    def __init__(self, prefix: str, further: Sequence[str]) -> None:
        super().__init__()
        self.prefix = prefix
        self.of_ratings = RatingMetrics(prefix)
        self.further = nn.ModuleDict({name: _checked(name) for name in further})

    def update(self, predicted: Tensor, batch: RatingBatch) -> None:
        """Add a batch.

        Args:
            predicted: float [B], in rating units, as it is to be measured.
            batch: what it was predicted for, with the true ratings.
        """
        for metric in self._metrics():
            metric.update(predicted, batch)

    def compute(self) -> dict[str, Tensor]:
        """The metrics so far, scalars by the names that they are logged under."""
        found: dict[str, Tensor] = self.of_ratings.compute()
        for name, metric in self.further.items():
            found[f"{self.prefix}{name}"] = _number(metric.compute())  # type: ignore[operator]
        return found

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self._metrics():
            metric.reset()

    def _metrics(self) -> list[Any]:
        return [self.of_ratings, *self.further.values()]


def _number(value: Any) -> Tensor:
    return torch.as_tensor(value).float().reshape(())


def _checked(name: str) -> Metric:
    """A metric of others, after a few ratings have gone through another one of its class."""
    kind = METRICS.part(name)
    metric: Metric = kind()
    rows = torch.arange(4, dtype=torch.int32)
    batch = RatingBatch(rows % 2, rows, torch.tensor([1.0, 2.0, 4.0, 5.0]))
    tried = kind()
    what = f"metric {name!r}: {kind.__name__}"
    try:
        tried.update(torch.tensor([1.5, 2.0, 3.0, 4.5]), batch)
        value = tried.compute()
    except Exception as error:
        raise ConfigError(
            f"{what} must take update(predicted, batch), with float [B] and a RatingBatch of B "
            f"rows, and then compute(); for 4 rows: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(value, Tensor | int | float) or torch.as_tensor(value).numel() != 1:
        size = list(value.shape) if isinstance(value, Tensor) else repr(value)
        raise ConfigError(f"{what}.compute must return one number, and gave {size}")
    return metric

"""What a run measures of predicted ratings: RMSE, MAE, intervals, and metrics of others."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_collab.config.registry import METRICS
from lightning_collab.data.batches import RatingBatch
from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.errors import ConfigError
from lightning_collab.losses import PointwiseLoss

KINDS = ("warm", "cold", "unknown")


class RatingMetrics(Metric):
    """Root mean squared error and mean absolute error, of all, warm, cold and unknown rows.

    A row is unknown where nothing is known of its user or its item, else cold where of one of them
    only features are known and no training rating, else warm. What is summed is summed in double
    precision and over all ranks before anything is divided, so that any number of ranks gives the
    numbers of one.

    Args:
        prefix: of the names, such as `val/`.

    Attributes:
        warm: how many users, and how many items, have training ratings: the rows from 1 to that
            number; None: all that are known.
    """

    full_state_update = False
    squared: Tensor
    absolute: Tensor
    rows: Tensor

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        self.warm: tuple[int, int] | None = None
        for name in ("squared", "absolute", "rows"):
            self.add_state(name, torch.zeros(len(KINDS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, batch: RatingBatch) -> None:
        """Add a batch.

        Args:
            predicted: float [B], in rating units, as it is to be measured.
            batch: what it was predicted for, with the true ratings.
        """
        errors = (predicted - batch.ratings).double()
        unknown = (batch.users == UNKNOWN_ROW) | (batch.items == UNKNOWN_ROW)
        cold = torch.zeros_like(unknown)
        if self.warm is not None:
            cold = ~unknown & ((batch.users > self.warm[0]) | (batch.items > self.warm[1]))
        # All sums at once, with no look at the data: on a GPU nothing waits.
        kinds = torch.stack([~(unknown | cold), cold, unknown]).double()
        self.squared += kinds @ errors.square()
        self.absolute += kinds @ errors.abs()
        self.rows += kinds.sum(1)

    def compute(self) -> dict[str, Tensor]:
        """The metrics so far, float32 scalars.

        Returns:
            `rmse` and `mae`; the same with `_warm`, `_cold` and `_unknown` behind where there are
            such rows.
        """
        squared, absolute, rows = self.squared, self.absolute, self.rows
        named = {"": slice(None)}
        named |= {f"_{kind}": slice(place, place + 1) for place, kind in enumerate(KINDS)}
        metrics = {}
        for suffix, which in named.items():
            count = rows[which].sum()
            if count > 0:
                mean_square = squared[which].sum() / count
                metrics[f"{self.prefix}rmse{suffix}"] = mean_square.sqrt().float()
                metrics[f"{self.prefix}mae{suffix}"] = (absolute[which].sum() / count).float()
        return metrics


class LossMetric(Metric):
    """The mean of a pointwise loss over rows, exact over ranks.

    Args:
        loss: what is summed.
    """

    full_state_update = False
    total: Tensor
    rows: Tensor

    def __init__(self, loss: PointwiseLoss) -> None:
        super().__init__()
        self._loss = loss
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            predicted: float [B], what the loss compares.
            target: float [B], in rating units.
        """
        self.total = self.total + self._loss(predicted, target)
        self.rows = self.rows + len(target)

    def compute(self) -> Tensor:
        """A scalar."""
        return self.total / self.rows


# Percent of a normal distribution within so many standard deviations of its mean.
INTERVALS = {50: 0.6744897501960817, 80: 1.2815515655446004, 95: 1.959963984540054}


class IntervalCoverage(Metric):
    """Shares of ratings within the 50, 80 and 95% intervals, and the mean standard deviation.

    Args:
        prefix: of the names, such as `val/`.
    """

    full_state_update = False
    inside: Tensor
    deviations: Tensor
    rows: Tensor

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        for name, shape in (("inside", (len(INTERVALS),)), ("deviations", ()), ("rows", ())):
            state = torch.zeros(shape, dtype=torch.float64)
            self.add_state(name, state, dist_reduce_fx="sum")

    def update(self, predicted: Tensor, deviations: Tensor, ratings: Tensor) -> None:
        """Add a batch.

        Args:
            predicted: float [B], centers of the intervals.
            deviations: float [B], standard deviations.
            ratings: float [B], what people gave.
        """
        distances = (ratings - predicted).abs()
        for number, width in enumerate(INTERVALS.values()):
            self.inside[number] += (distances <= width * deviations).sum()
        self.deviations += deviations.double().sum()
        self.rows += len(ratings)

    def compute(self) -> dict[str, Tensor]:
        """Float32 scalars `coverage_50`, `coverage_80`, `coverage_95` and `deviation`."""
        shares = {
            f"{self.prefix}coverage_{percent}": (inside / self.rows).float()
            for percent, inside in zip(INTERVALS, self.inside, strict=True)
        }
        return {**shares, f"{self.prefix}deviation": (self.deviations / self.rows).float()}


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

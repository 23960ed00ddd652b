"""The learning-rate range test: raise the rate until the loss explodes, then choose one before."""

import logging
import math
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import polars
import pytorch_lightning as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lightning_collab.config import RunConfig
from lightning_collab.config.optimizer import LRRangeTestConfig, Suggestion
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.errors import ConfigError, TrainingError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.files import write_atomically
from lightning_collab.training.build import build_module
from lightning_collab.training.loggers import RunTensorBoard
from lightning_collab.training.process import random_numbers_put_back
from lightning_collab.training.schedules import exponential
from lightning_collab.training.trainer import build_bare_trainer


@dataclass(frozen=True, eq=False)
class LRRangeTest:
    """What a range test saw.

    Attributes:
        rates: float64 [n], optimizer.lr at each step (of a group whose lr_scale is 1).
        losses: float64 [n], of each batch, over all ranks.
        smoothed: float64 [n], their running mean.
        suggestions: a rate by each rule; a rule that finds none is left out.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggestions: dict[Suggestion, float]

    def suggested(self, rule: Suggestion) -> float:
        """The rate by one rule, with three digits.

        Raises:
            TrainingError: the curve has no such point.
        """
        if rule not in self.suggestions:
            raise TrainingError(
                f"the range test found no learning rate by lr_range_test.suggestion={rule}: the "
                "loss never went down; lower lr_range_test.start_lr or take more "
                "lr_range_test.steps"
            )
        return float(f"{self.suggestions[rule]:.3g}")


def run_lr_range_test(config: RunConfig, data: RatingDataModule) -> LRRangeTest:
    """Train a copy of the model with a rising rate and follow its loss.

    The rates of all groups are multiplied by one factor, so that their ratios stay. The copy has
    the weights and the order of ratings that the run will have; it is thrown away afterwards, and
    torch's random numbers continue as if nothing had happened.

    Args:
        config: of the run; its scheduler is not used.
        data: split ratings.

    Raises:
        ConfigError: the model is not trained by gradient descent.
    """
    if not config.model.by_gradient:
        raise ConfigError(f"model={config.model.name} is solved, and has no learning rate")
    settings = config.lr_range_test
    watch = _Watch(settings)
    lr = config.optimizer.lr
    with random_numbers_put_back():
        schedule = exponential(settings.start_lr / lr, settings.end_lr / lr, settings.steps)
        module = build_module(config, data, schedule=schedule, to_shard=config.model.sharded)
        module.stops_on_divergence = False
        trainer = build_bare_trainer(config, callbacks=[watch], max_steps=settings.steps)
        trainer.fit(module, datamodule=data)
    losses = np.array(watch.losses)
    factor = exponential(settings.start_lr, settings.end_lr, settings.steps)
    rates = np.array([factor(step) for step in range(len(losses))])
    smoothed = smoothed_losses(losses, settings.smoothing)
    return LRRangeTest(rates, losses, smoothed, suggestions(rates, smoothed))


class _Watch(pl.Callback):
    """Notes the loss of each batch and stops where it explodes."""

    def __init__(self, settings: LRRangeTestConfig) -> None:
        self.settings = settings
        self.losses: list[float] = []
        self._mean = 0.0
        self._lowest = math.inf

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        loss: Tensor = outputs["loss"] if isinstance(outputs, dict) else outputs
        # Every rank sees the same mean, and so all of them stop at the same step.
        value = float(trainer.strategy.reduce(loss.detach().clone(), reduce_op="mean"))
        if not math.isfinite(value):
            trainer.should_stop = True
            return
        self.losses.append(value)
        beta = self.settings.smoothing
        self._mean = beta * self._mean + (1 - beta) * value
        smoothed = self._mean / (1 - beta ** len(self.losses))
        self._lowest = min(self._lowest, smoothed)
        if len(self.losses) > 10 and smoothed > self.settings.divergence * self._lowest:
            trainer.should_stop = True


def smoothed_losses(losses: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """The running mean, with the bias of its zero start divided out (Kingma and Ba 2015, 3).

    Args:
        losses: float64 [n].
        beta: share of the mean that each new loss leaves.
    """
    mean, result = 0.0, np.empty_like(losses)
    for step, loss in enumerate(losses):
        mean = beta * mean + (1 - beta) * loss
        result[step] = mean / (1 - beta ** (step + 1))
    return result


def suggestions(
    rates: NDArray[np.float64], smoothed: NDArray[np.float64]
) -> dict[Suggestion, float]:
    """Rates by the usual rules; nothing where the loss never goes down.

    Args:
        rates: float64 [n], rising in equal ratios.
        smoothed: float64 [n], smoothed losses.

    Returns:
        `steepest`: where the loss falls fastest against the logarithm of the rate, once it has
        begun to fall for good; `valley`: the
        middle of the longest valley (fastai's rule, due to ESRI); `minimum`: a tenth of the rate
        where the loss is lowest.
    """
    lowest = int(smoothed.argmin()) if len(smoothed) else 0
    if lowest < 2:
        return {}
    falls = beginning_of_fall(smoothed[: lowest + 1])
    slope = np.gradient(smoothed[falls : lowest + 1], np.log(rates[falls : lowest + 1]))
    start, end = longest_valley(smoothed)
    third = (end - start) / 3
    return {
        "steepest": float(rates[falls + slope.argmin()]),
        "valley": float(rates[start + int(third) + int(third / 2)]),
        "minimum": float(rates[lowest] / 10),
    }


def beginning_of_fall(smoothed: NDArray[np.float64]) -> int:
    """The step after which the loss stays a tenth of its whole fall below where it began.

    Before, at rates that change nothing, it goes up and down with the batches.

    Args:
        smoothed: float64 [n], up to the lowest loss; at least 3.

    Returns:
        An index that leaves at least two losses.
    """
    high = float(np.median(smoothed[: max(3, len(smoothed) // 10)]))
    above = np.flatnonzero(smoothed > high - 0.1 * (high - smoothed[-1]))
    return min(int(above[-1]) if len(above) else 0, len(smoothed) - 2)


def longest_valley(smoothed: NDArray[np.float64]) -> tuple[int, int]:
    """Where the longest falling subsequence of losses begins and ends, as fastai counts it.

    Args:
        smoothed: float64 [n].

    Returns:
        The index at its end less its length, and the index at its end.
    """
    length = np.ones(len(smoothed), dtype=np.int64)
    for position, loss in enumerate(smoothed):
        above = length[:position][smoothed[:position] > loss]
        if len(above):
            length[position] += above.max()
    end = int(length.argmax())
    return max(0, end - int(length[end])), end


COLORS: dict[Suggestion, str] = {"steepest": "C1", "valley": "C2", "minimum": "C3"}


@rank_zero_only
def write_range_test(found: LRRangeTest, run: RunDirectory, *, chosen: Suggestion) -> Figure:
    """Keep lr_range_test.csv and figures/lr_range_test.png.

    Args:
        found: what the test saw.
        run: where it goes.
        chosen: the suggestion to mark.

    Returns:
        The figure.
    """
    figure = range_test_figure(found, chosen)
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    run.figures.mkdir(parents=True, exist_ok=True)
    write_atomically(run.figures / "lr_range_test.png", picture.getvalue())
    columns = {"lr": found.rates, "loss": found.losses, "smoothed_loss": found.smoothed}
    write_atomically(run.path / "lr_range_test.csv", polars.DataFrame(columns).write_csv())
    return figure


def range_test_figure(found: LRRangeTest, chosen: Suggestion) -> Figure:
    """Loss against learning rate, each suggestion marked.

    Args:
        found: what the test saw.
        chosen: the suggestion to mark with a full line.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color="0.8", linewidth=1, label="loss of the batch")
    axes.plot(found.rates, found.smoothed, color="C0", label="smoothed")
    for rule, rate in found.suggestions.items():
        style = "-" if rule == chosen else ":"
        axes.axvline(rate, color=COLORS[rule], linestyle=style, label=f"{rule}: {rate:.3g}")
    low, high = found.smoothed.min(), found.smoothed[0]
    axes.set_ylim(low - 0.2 * (high - low), high + 0.6 * (high - low) + 1e-9)
    axes.set(xscale="log", xlabel="learning rate (optimizer.lr)", ylabel="training loss")
    axes.legend()
    return figure


log = logging.getLogger(__name__)


def with_found_rate(config: RunConfig, data: RatingDataModule, run: RunDirectory) -> RunConfig:
    """The config with the learning rate that the range test suggests.

    The run keeps the rate, not the search, so that it can be resumed and repeated as it was.

    Args:
        config: of the run, with `find_lr`.
        data: split ratings.
        run: where the curve is kept.

    Raises:
        TrainingError: the range test found no rate.
    """
    found = run_lr_range_test(config, data)
    rule = config.lr_range_test.suggestion
    rate = found.suggested(rule)
    figure = write_range_test(found, run, chosen=rule)
    if figure is not None and config.logger.tensorboard is not None:
        board = RunTensorBoard(run)
        board.experiment.add_figure("train/lr_range_test", figure)
        board.finalize("success")
    log.info("learning rate by the range test (%s): %g", rule, rate)
    optimizer = config.optimizer.model_copy(update={"lr": rate})
    return config.model_copy(update={"optimizer": optimizer, "find_lr": False})

"""The lecture's results beside ours, over several seeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results.measured_run import mean_and_deviation, measured_run

FIRST_SEED = 42


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        title: what it is.
        overrides: as typed on the command line of scripts/train.py.
        metric: by its name in metrics.json.
        published: the figure of the lecture, where it has one.
    """

    title: str
    overrides: tuple[str, ...]
    metric: str = "val/loss"
    published: float | None = None


@dataclass(frozen=True)
class Measured:
    """A row with its numbers over the seeds.

    Attributes:
        row: what was run.
        best: float [seeds], the metric at the best epoch.
        last: float [seeds], the metric at the last epoch; empty for a test metric.
        seconds: mean of the training.
    """

    row: Row
    best: list[float]
    last: list[float]
    seconds: float


LECTURE = (
    Row("dot product, SGD at 0.1 then 0.01", ("experiment=lecture_dot_bias",), published=0.8012),
    Row("network, Adam", ("experiment=lecture_net",), published=0.7808),
    Row("dot product, Adam with restarts", ("experiment=lecture_restarts",), published=0.776),
)
BEST = (
    Row("dot product, tuned", ("experiment=lecture_dot_bias_tuned",)),
    Row("network, tuned", ("experiment=lecture_net_tuned",)),
    Row("factors by linear regression", ("experiment=lecture_least_squares",)),
)
ML_100K = (
    Row("dot product (default)", (), "test/rmse"),
    Row("network", ("experiment=ml_100k_net",), "test/rmse"),
    Row("factors by linear regression", ("model=least_squares_factors",), "test/rmse"),
    Row("X Y^T by full-batch descent", ("experiment=matrix_product",), "test/rmse"),
)


def measure(rows: tuple[Row, ...], runs: Path, seeds: int) -> Iterator[Measured]:
    """Run each row with each seed.

    Args:
        rows: what to run.
        runs: folder of the runs.
        seeds: how many, from 42 on; the split is the same for all.
    """
    for row in rows:
        best, last, seconds = [], [], []
        name = " ".join(row.overrides).replace("experiment=", "") or "default"
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            folder = runs / name.replace("=", "-") / f"seed-{seed}"
            metrics, epochs = measured_run(folder, *row.overrides, f"seed={seed}")
            if row.metric == "val/loss":
                best.append(min(epoch["val/loss"] for epoch in epochs))
                last.append(epochs[-1]["val/loss"])
            else:
                best.append(metrics[row.metric])
            seconds.append(metrics["fit_seconds"])
        yield Measured(row, best, last, float(np.mean(seconds)))


def markdown(measured: list[Measured]) -> str:
    """A Markdown table.

    Args:
        measured: rows of the same metric.
    """
    published = any(each.row.published for each in measured)
    with_last = any(each.last for each in measured)
    head = ["model"]
    head += ["published"] if published else []
    head += ["best epoch", "last epoch"] if with_last else ["test RMSE"]
    lines = [[*head, "seconds", "command"], ["---"] * (len(head) + 2)]
    for each in measured:
        cells = [each.row.title]
        cells += [f"{each.row.published:g}" if each.row.published else ""] if published else []
        cells.append(mean_and_deviation(each.best))
        cells += [mean_and_deviation(each.last)] if with_last else []
        command = " ".join(["scripts/train.py", *each.row.overrides])
        lines.append([*cells, f"{each.seconds:.0f}", f"`{command}`"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

"""How well items and users without training ratings are served by what is known of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results.measured_run import measured_run
from lightning_collab.config.registry import MODELS

FIRST_SEED = 42
BIASES = "the best of user and item biases and of one side's alone, as printed beside each run"
ITEMS = ("split=cold_items",)
EVERYTHING = ("features=everything", "~features.time")


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        title: what it is.
        name: of the folder of its runs.
        typed: on the command line of scripts/train.py, but for the seed.
        model: that must be there; rows of others are left out.
    """

    title: str
    name: str
    typed: tuple[str, ...]
    model: str = "embedding_dot_bias"


TABLES = {
    "Items": (
        Row("dot product, features in training too", "items_everything", (*ITEMS, *EVERYTHING)),
        Row(
            "the same, rows of a quarter of the items left out in each step",
            "items_dropout",
            (*ITEMS, *EVERYTHING, "features.id_dropout=0.25"),
        ),
        Row("dot product", "items_ids", ITEMS),
        Row(
            "least squares",
            "items_least_squares",
            (*ITEMS, "model=least_squares_factors"),
            "least_squares_factors",
        ),
        Row("network", "items_net", (*ITEMS, "model=embedding_net"), "embedding_net"),
        Row(
            "Gibbs sampling, 120 sweeps",
            "items_gibbs",
            (*ITEMS, *EVERYTHING, "model=bayesian_factors", "trainer.max_epochs=120"),
            "bayesian_factors",
        ),
        Row("dot product, softmax", "items_softmax", (*ITEMS, "experiment=ml_100k_ranking")),
    ),
    "Users": (
        Row(
            "dot product, features in training too",
            "users_everything",
            ("split=cold_users", *EVERYTHING),
        ),
        Row("dot product", "users_ids", ("split=cold_users",)),
    ),
}
# Name in metrics.json, and head of the column.
SHOWN = {
    "test/rmse": "RMSE",
    "test/cold_ndcg@10": "NDCG@10",
    "test/cold_auc_all": "AUC, all",
    "test/cold_auc_rated": "AUC, rated",
}


@dataclass(frozen=True)
class Measured:
    """A row of a table.

    Attributes:
        title: what it is.
        numbers: of each metric of `SHOWN` that there is, one a draw.
        known: of the validation part, one a draw; empty for a baseline.
        command: that prints it.
    """

    title: str
    numbers: dict[str, list[float]]
    known: list[float]
    command: str


def measure(rows: tuple[Row, ...], runs: Path, seeds: int) -> Iterator[Measured]:
    """Run each model on each draw; the baseline of biases comes first.

    Args:
        rows: of a table.
        runs: folder of the runs.
        seeds: draws, from 42 on.
    """
    for number, row in enumerate(row for row in rows if row.model in MODELS.names):
        kept: list[dict[str, Any]] = []
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            folder = runs / "cold_start" / row.name / f"draw-{seed}"
            kept.append(measured_run(folder, *row.typed, f"split.seed={seed}")[0])
        if number == 0:
            biases = [float(each["baseline/bias_rmse"]) for each in kept]
            yield Measured(BIASES, {"test/rmse": biases}, [], "beside every run")
        numbers = {
            name: [float(each[name]) for each in kept]
            for name in SHOWN
            if all(name in each for each in kept)
        }
        of_known = "val/rmse_warm" if "val/rmse_warm" in kept[0] else "val/ndcg@10"
        known = [float(each[of_known]) for each in kept]
        yield Measured(row.title, numbers, known, f"`scripts/train.py {' '.join(row.typed)}`")


def markdown(measured: list[Measured]) -> str:
    """A Markdown table in the order measured.

    Args:
        measured: of one table.
    """
    shown = [name for name in SHOWN if any(name in each.numbers for each in measured)]
    head = ("", *(SHOWN[name] for name in shown), "known", "command")
    lines: list[tuple[str, ...]] = [head, ("---",) * len(head)]
    for each in measured:
        cells = (_mean(each.numbers.get(name, [])) for name in shown)
        lines.append((each.title, *cells, _mean(each.known), each.command))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _mean(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"

"""How well the losses that rank recommend, by protocol, beside what needs no training."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results.measured_run import mean_and_deviation, measured_run
from lightning_collab.config.registry import MODELS

FIRST_SEED = 42
K = 10
METRICS = ("ndcg", "recall", "mrr", "coverage")
BASELINES = {
    "most_popular": "most popular",
    "item_knn": "item-kNN, cosine, 200 neighbors",
    "ease": "EASE, lambda by the validation part",
}


@dataclass(frozen=True)
class Row:
    """One model and loss.

    Attributes:
        title: what it is.
        name: of the folder of its runs.
        typed: what is typed beside the protocol.
        model: that must be there; rows of others are left out.
        solved: whether it is solved, so that it has no loss of its own.
    """

    title: str
    name: str
    typed: tuple[str, ...]
    model: str = "embedding_dot_bias"
    solved: bool = False


@dataclass(frozen=True)
class Protocol:
    """What trains, what tests, and what counts as liked.

    Attributes:
        title: of the table.
        about: how it is split and measured.
        typed: overrides of each run by a loss.
        solved: the same of a model that is solved.
        seed_key: what differs from run to run.
        name: of the folder of its runs.
    """

    title: str
    about: str
    typed: tuple[str, ...]
    solved: tuple[str, ...]
    seed_key: str
    name: str

    def overrides(self, row: Row) -> tuple[str, ...]:
        """As typed on the command line of scripts/train.py, but for the seed.

        Args:
            row: of its table.
        """
        return (*row.typed, *self.solved) if row.solved else (*self.typed, *row.typed)


# As conf/experiment/ml_100k_ranking_net.yaml has it.
NET = (
    "model=embedding_net",
    "loss=bce",
    "model.hidden=64",
    "model.hidden_dropout=0.2",
    "model.init_range=0.1",
    "optimizer.lr=5e-3",
    "optimizer.groups.hidden.weight_decay=1e-5",
    "optimizer.groups.output.weight_decay=1e-5",
    "trainer.max_epochs=10",
)
ROWS = (
    Row("dot product, softmax", "softmax", ()),
    Row("dot product, BCE", "bce", ("loss=bce",)),
    Row("dot product, BPR", "bpr", ("loss=bpr",)),
    Row("network, BCE", "net", NET, "embedding_net"),
    Row(
        "implicit least squares",
        "implicit_least_squares",
        ("model=implicit_least_squares",),
        "implicit_least_squares",
        solved=True,
    ),
    Row("EASE as a run", "ease", ("model=ease",), "ease", solved=True),
)
PROTOCOLS = (
    Protocol(
        "MovieLens 100K, 80/10/10 at random, four stars or more",
        "The product's own split. Positives, and what is to be found, are ratings of 4 or more; "
        "what a user rated before, liked or not, is left out of the user's ranking.",
        ("experiment=ml_100k_ranking",),
        ("model.positives=4",),
        "split.seed",
        "random",
    ),
    Protocol(
        "MovieLens 100K by RecBole's protocol",
        "Ratings of 3 or more, 8:1:1 within each user with RecBole's rounding; every held-out pair "
        "is to be found, and training and validation pairs are left out at test.",
        ("experiment=ml_100k_recbole",),
        ("data.min_rating=3", "split=user_ratio"),
        "split.seed",
        "recbole",
    ),
    Protocol(
        "MovieLens 100K, u1, four stars or more",
        "Trains on all of u1.base, with the values of the random split, and tests on u1.test. "
        "EASE has its usual lambda of 400, for want of a validation part.",
        ("experiment=ml_100k_ranking", "split=official_fold", "split.fold=u1", "split.val=0"),
        ("split=official_fold", "split.fold=u1", "split.val=0", "model.positives=4"),
        "seed",
        "u1",
    ),
)


@dataclass(frozen=True)
class Measured:
    """A row of a table.

    Attributes:
        title: what it is.
        numbers: of each metric of `METRICS`, one a seed.
        seconds: mean training time of a run; None: it is a baseline of every run.
        command: that prints it.
    """

    title: str
    numbers: Mapping[str, list[float]]
    seconds: float | None
    command: str


def measure(protocol: Protocol, runs: Path, seeds: int) -> Iterator[Measured]:
    """Run each model and loss with each seed; baselines come first.

    Args:
        protocol: by which.
        runs: folder of the runs.
        seeds: how many, from 42 on.
    """
    rows = [row for row in ROWS if row.model in MODELS.names]
    for number, row in enumerate(rows):
        overrides = protocol.overrides(row)
        kept: list[dict[str, Any]] = []
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            folder = runs / "ranking" / protocol.name / row.name / f"seed-{seed}"
            kept.append(measured_run(folder, *overrides, f"{protocol.seed_key}={seed}")[0])
        if number == 0:
            for key, title in BASELINES.items():
                yield Measured(title, _of(kept, f"baseline/{key}"), None, "beside every run")
        command = f"`scripts/train.py {' '.join(overrides)}`"
        seconds = float(np.mean([metrics["fit_seconds"] for metrics in kept]))
        yield Measured(row.title, _of(kept, "test"), seconds, command)


def _of(kept: list[dict[str, Any]], prefix: str) -> dict[str, list[float]]:
    return {name: [float(each[f"{prefix}/{name}@{K}"]) for each in kept] for name in METRICS}


def markdown(measured: list[Measured]) -> str:
    """A Markdown table in the order measured.

    Args:
        measured: of one protocol.
    """
    head = ("", f"NDCG@{K}", f"recall@{K}", f"MRR@{K}", "coverage", "seconds", "command")
    lines: list[tuple[str, ...]] = [head, ("---",) * len(head)]
    for each in measured:
        ndcg = each.numbers["ndcg"]
        others = (float(np.mean(each.numbers[name])) for name in METRICS[1:-1])
        lines.append(
            (
                each.title,
                mean_and_deviation(ndcg),
                *(f"{value:.3f}" for value in others),
                f"{np.mean(each.numbers['coverage']):.1%}",
                "" if each.seconds is None else f"{each.seconds:.1f}",
                each.command,
            )
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

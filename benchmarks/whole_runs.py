"""Whole runs beside other packages: from the command to the metrics, and the steady state of fits.

Ours is `scripts/train.py` on a CSV file, reading included, without validation between epochs, logs
or a report; the others are a program that reads the same file by numpy, fits and measures. Both
predict the same held-out rows, and the error stands beside the time, so that nobody wins by not
learning. How fast a fit is once it runs is the difference of two fits of different lengths in one
process, after a first one. Every package has the same method as far as it has it, the same rates,
factors and epochs, and one thread.
"""

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import torch

from benchmarks.bandwidth import bytes_per_rating, bytes_per_second
from benchmarks.config import WholeRunsConfig
from benchmarks.peers import runner
from benchmarks.peers.environments import environment_of
from benchmarks.processes import ROOT, environment
from lightning_collab.config.compose import composed_run
from lightning_collab.config.data import Order
from lightning_collab.training.build import load_data

log = logging.getLogger(__name__)

OURS = "ours"
SEED = 42
SILENT = (
    *("logger=none", "callbacks.projector=null", "callbacks.report=null"),
    *("callbacks.progress_bar=false", "split=predefined", "split.val_part=null"),
    *("data=csv", "data.cache=false", f"seed={SEED}"),
)
# Cornac's step is lr (e q - decay p), ours lr (2 e q - decay p): these are the same.
LR, DECAY = 0.01, 0.08
SINGLE = (
    *("data.batch_size=1", "model.output=linear", "model.init_range=0.0173"),
    *("optimizer=sgd", "optimizer.momentum=0", "optimizer.decay=per_row"),
    *(f"optimizer.lr={LR / 2}", f"optimizer.weight_decay={2 * DECAY}", "scheduler=constant"),
)
ADAM = (
    *("model.output=sigmoid", "optimizer=adamw", "optimizer.lr=0.005"),
    *("optimizer.weight_decay=0.1", "scheduler=one_cycle"),
)
BPR = (
    *("loss=bpr", "loss.popularity_power=0", "data.order=by_user", "data.batch_size=1"),
    *("optimizer=sgd", "optimizer.momentum=0", "optimizer.decay=per_row", "optimizer.lr=0.05"),
    *("optimizer.weight_decay=0.01", "scheduler=constant"),
)
UNOBSERVED, SPREAD = 0.2, 20.0
SWEEPS = (
    *("model=implicit_least_squares", f"model.unobserved_weight={UNOBSERVED}"),
    *("model.frequency_scaling=0", f"model.regularization={SPREAD}"),
)
IN_ORDERS = {
    f"ours_{order}": (f"data.order={order}",)
    for order in get_args(Order)
    if order not in ("random", "auto")
}


@dataclass(frozen=True)
class Case:
    """One question: which way is the fastest?

    Attributes:
        title: what its table is called.
        factors: length of the embeddings.
        epochs: of the fits that are compared, by size: a million ratings, and more.
        few_epochs: of the shorter fits, likewise.
        common: overrides of all of our ways.
        ways: what else those have that are not plainly `ours`.
        peers: by package, settings of its fit.
        slow: packages that are measured once, without a first fit.
        ranks: whether choices are ranked, in place of ratings predicted.
        large: whether it is asked of the larger size too.
    """

    title: str
    factors: int
    epochs: tuple[int, int]
    few_epochs: tuple[int, int]
    common: Sequence[str]
    ways: Mapping[str, Sequence[str]] = field(default_factory=dict)
    peers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    slow: Sequence[str] = ()
    ranks: bool = False
    large: bool = True

    @property
    def single(self) -> bool:
        """Whether steps are plain ones on single ratings, of which the roofline is known."""
        return self.common is SINGLE


PLAIN = {"lr": LR, "weight_decay": DECAY}
PEERS = {"cornac": PLAIN, "surprise": PLAIN, "libmf": {"lr": 0.1, "weight_decay": DECAY}}
FASTAI = {"lr": 5e-3, "weight_decay": 0.1}
CASES = {
    "sgd_50": Case(
        "Plain SGD on single ratings, 50 factors",
        50,
        (20, 4),
        (5, 1),
        SINGLE,
        IN_ORDERS
        | {
            "ours_two_threads": ("training.sgd_threads=2",),
            "ours_blocked_two_threads": ("training.sgd_threads=2", "data.order=blocked"),
        },
        PEERS,
        slow=("surprise",),
    ),
    "sgd_100": Case(
        "Plain SGD on single ratings, 100 factors",
        100,
        (20, 4),
        (5, 1),
        SINGLE,
        IN_ORDERS,
        PEERS,
        slow=("surprise",),
    ),
    "decay": Case(
        "Forms of decay in plain SGD on single ratings",
        50,
        (20, 4),
        (5, 1),
        SINGLE,
        {
            # Each step shrinks every row, where `per_row` shrinks the two of its rating.
            f"ours_{form}": (f"optimizer.decay={form}", "optimizer.weight_decay={dense_decay}")
            for form in ("gradient", "decoupled")
        },
        large=False,
    ),
    "adam_64": Case(
        "Adam in batches of 64",
        50,
        (2, 2),
        (1, 1),
        (*ADAM, "data.batch_size=64"),
        {},
        {"fastai": {**FASTAI, "batch_size": 64}},
        slow=("fastai",),
        large=False,
    ),
    "adam_512": Case(
        "Adam in batches of 512",
        50,
        (2, 2),
        (1, 1),
        (*ADAM, "data.batch_size=512"),
        {},
        {"fastai": {**FASTAI, "batch_size": 512}},
        slow=("fastai",),
    ),
    "rank_by_least_squares": Case(
        "Choices ranked by least squares",
        64,
        (6, 3),
        (2, 1),
        SWEEPS,
        {},
        {"implicit_als": {"alpha": 1 / UNOBSERVED, "weight_decay": SPREAD / UNOBSERVED}},
        ranks=True,
    ),
    "rank_by_bpr": Case(
        "Choices ranked by BPR on single triples",
        64,
        (20, 4),
        (5, 1),
        BPR,
        {},
        {"implicit_bpr": {"lr": 0.05, "weight_decay": 0.01}},
        ranks=True,
    ),
}
MEASURES = {
    "seconds_to_metrics": "command to metrics, s",
    "quality": "RMSE; of rankings nDCG@10",
    "fit_ratings_per_second": "M ratings/s of `fit`",
    "steady_ratings_per_second": "M ratings/s, steady",
    "fit_over_ours": "`fit` over ours",
    "steady_over_ours": "steady over ours",
}
AIMS = {
    "million/sgd_50/cornac/steady_over_ours": "at most 0.83",
    "million/sgd_50/cornac/fit_over_ours": "at most 1",
    "million/sgd_100/cornac/steady_over_ours": "at most 0.83",
    "million/sgd_100/cornac/fit_over_ours": "at most 1",
    "million/sgd_50/ours_two_threads/steady_over_ours": "at least 1.5",
    "million/decay/ours_gradient/steady_over_ours": "at least 0.7",
    "million/decay/ours_decoupled/steady_over_ours": "at least 0.7",
}

Measured = dict[str, float | str]
Round = dict[str, float]


@dataclass(frozen=True)
class Ratings:
    """What is on disk.

    Attributes:
        folder: of `train.csv` and `held_out.csv`.
        size: `million` or `twenty_million`.
        training: rows of the former.
        rows: of both tables, the unknown ones left out.
        rating_range: of the scale.
    """

    folder: Path
    size: str
    training: int
    rows: int
    rating_range: tuple[float, float]

    @property
    def sources(self) -> tuple[str, ...]:
        """Overrides with which ours reads them."""
        low, high = self.rating_range
        return (
            f"data.path={self.folder / 'train.csv'}",
            f"data.test_path={self.folder / 'held_out.csv'}",
            f"data.rating_range=[{low:g},{high:g}]",
        )


def run(repeats: int, settings: WholeRunsConfig) -> Measured:
    """Measure every way of every case in turn.

    Args:
        repeats: rounds of a million ratings; medians are taken, of ratios within a round.
        settings: which data, and which cases.

    Returns:
        `<size>/<case>/<way>/...`: see `MEASURES`; where a package is absent, why. Of single
        ratings also `<size>/<case>/roofline/...`: ratings a second if nothing but moving their
        bytes took time, as fast as tables of this size are copied, and ours as a share of it.
    """
    result: Measured = {}
    sizes = {
        "million": (settings.million, 1_000_000, repeats),
        "twenty_million": (settings.twenty_million, 20_000_000, settings.large_repeats),
    }
    cases: Sequence[str] = settings.cases or list(CASES)
    with tempfile.TemporaryDirectory() as name:
        for size, (data, ratings, rounds) in sizes.items():
            chosen = [c for c in cases if size == "million" or CASES[c].large]
            if data is None:
                continue
            for ranks in (False, True):
                asked = [case for case in chosen if CASES[case].ranks == ranks]
                if asked:
                    folder = Path(name) / f"{size}_{ranks}"
                    written = write_ratings(folder, size, data, ratings, chosen_only=ranks)
                    for case in asked:
                        result |= measured_case(case, written, rounds)
    return result


def write_ratings(
    folder: Path, size: str, data: str, ratings: int, *, chosen_only: bool
) -> Ratings:
    """Four fifths of the ratings to train on, and of the others those whose ids are among these.

    Args:
        folder: made here.
        size: its name.
        data: `synthetic`, or a release whose files are there.
        ratings: how many to draw, if they are drawn.
        chosen_only: leave out what is rated less than 4.
    """
    drawn = (f"data.ratings={ratings}", "data.cache=false") if data == "synthetic" else ()
    lowest = ("data.min_rating=4",) if chosen_only else ()
    loaded = load_data(
        composed_run(f"data={data}", *drawn, *lowest, "split.test=0.2", "split.val=0")
    )
    folder.mkdir(parents=True)
    train, held_out = (loaded.columns(rows) for rows in (loaded.rows.train, loaded.rows.test))
    # Numbered from 1 without gaps.
    users, items = (np.unique(column) for column in train[:2])
    known = np.isin(held_out.users, users) & np.isin(held_out.items, items)
    for name, part, rows in (("train", train, slice(None)), ("held_out", held_out, known)):
        frame = pl.DataFrame(
            {
                "user": np.searchsorted(users, part.users[rows]) + 1,
                "item": np.searchsorted(items, part.items[rows]) + 1,
                "rating": part.ratings[rows],
            }
        )
        frame.write_csv(folder / f"{name}.csv")
    low, high = loaded.table.rating_range
    return Ratings(folder, size, len(train.users), len(users) + len(items), (low, high))


def measured_case(name: str, ratings: Ratings, repeats: int) -> Measured:
    """Every way of a case, one after the other in each round.

    Args:
        name: of the case.
        ratings: what is fitted.
        repeats: rounds; slow packages are in the first only.
    """
    case = CASES[name]
    ways: dict[str, Callable[[], Round]] = {}
    result: Measured = {}
    for way, further in {OURS: (), **case.ways}.items():
        ways[way] = lambda further=further: our_round(case, ratings, further)  # type: ignore[misc]
    for package in case.peers:
        there = environment_of(package.split("_")[0])
        if there.python is None:
            result[f"{ratings.size}/{name}/{package}/absent"] = there.problem
        else:
            ways[package] = lambda python=there.python, package=package: peer_round(  # type: ignore[misc]
                case, ratings, package, python
            )
    rounds: dict[str, list[Round]] = {way: [] for way in ways}
    for number in range(repeats):
        for way, measure in ways.items():
            if number == 0 or way not in case.slow:
                log.info("%s: %s, %s", ratings.size, name, way)
                rounds[way].append(measure())
    result = {**summary(f"{ratings.size}/{name}", rounds), **result}
    if case.single:
        result |= roofline(f"{ratings.size}/{name}", case, ratings, result)
    return result


def summary(where: str, rounds: Mapping[str, Sequence[Round]]) -> Measured:
    """Medians over rounds, of ratios within a round.

    Args:
        where: of the case.
        rounds: by way, ours first, what was measured in each round that it was part of.
    """
    result: Measured = {}
    for way, each in rounds.items():
        for measure in each[0]:
            result[f"{where}/{way}/{measure}"] = statistics.median(one[measure] for one in each)
        if way == OURS:
            continue
        for kind in ("fit", "steady"):
            speed = f"{kind}_ratings_per_second"
            result[f"{where}/{way}/{kind}_over_ours"] = statistics.median(
                # A slow package is part of the first round only.
                one[speed] / ours[speed]
                for one, ours in zip(each, rounds[OURS], strict=False)
            )
    return result


def roofline(where: str, case: Case, ratings: Ratings, measured: Measured) -> Measured:
    """What moving the bytes of a rating allows, as fast as tables of this size are copied."""
    possible = bytes_per_second(2 * 4 * ratings.rows * (case.factors + 1))
    speed = possible / bytes_per_rating(case.factors)
    ours = measured[f"{where}/{OURS}/steady_ratings_per_second"]
    assert isinstance(ours, float)
    return {
        f"{where}/roofline/steady_ratings_per_second": speed,
        f"{where}/roofline/steady_over_ours": speed / ours,
    }


def our_overrides(case: Case, ratings: Ratings, further: Sequence[str]) -> list[str]:
    """The run of one of our ways, but for its epochs.

    Args:
        case: that asks.
        ratings: on disk.
        further: what this way has of its own.
    """
    ranks = ("data.columns.rating=null", "data.rating_range=null", "metrics.top_k=[10]")
    return [
        *(*SILENT, *ratings.sources, f"model.factors={case.factors}", *case.common),
        *(each.format(dense_decay=2 * DECAY * 2 / ratings.rows) for each in further),
        *(ranks if case.ranks else ()),
        f"trainer.threads={torch.get_num_threads()}",
    ]


def our_round(case: Case, ratings: Ratings, further: Sequence[str]) -> Round:
    """Ours: two fits in a process, then the command."""
    typed = our_overrides(case, ratings, further)
    config = composed_run(*typed).model_dump(mode="json")
    program = ["-m", "benchmarks.peers.ours"]
    result = _process(program, case, ratings, {"config": config}, "long_and_short")
    epochs = case.epochs[ratings.size != "million"]
    with tempfile.TemporaryDirectory(dir=ratings.folder) as run:
        typed += [f"trainer.max_epochs={epochs}", f"hydra.run.dir={run}"]
        started = time.perf_counter()
        _checked([sys.executable, str(ROOT / "scripts" / "train.py"), *typed])
        seconds = time.perf_counter() - started
        metrics = json.loads((Path(run) / "metrics.json").read_text())
    quality = metrics["test/ndcg@10" if case.ranks else "test/rmse"]
    return {"seconds_to_metrics": seconds, "quality": quality, **result}


def peer_round(case: Case, ratings: Ratings, package: str, python: str) -> Round:
    """Another package: two fits in a process, then a process that does all."""
    own = {
        **case.peers[package],
        "factors": case.factors,
        "rating_range": ratings.rating_range,
        "slow": package in case.slow,
    }
    program = [runner.__file__, package]
    result = _process(program, case, ratings, own, "long_and_short", python)
    started = time.perf_counter()
    fitted = _process(program, case, ratings, own, "from_file", python)
    return {"seconds_to_metrics": time.perf_counter() - started, **fitted, **result}


def _process(
    program: Sequence[str],
    case: Case,
    ratings: Ratings,
    own: Mapping[str, Any],
    measure: str,
    python: str = sys.executable,
) -> Round:
    """What `runner.py` or `ours.py` says."""
    large = ratings.size != "million"
    settings_file, output = ratings.folder / "settings.json", ratings.folder / "output.json"
    settings = {
        "slow": False,
        **own,
        "measure": measure,
        "epochs": case.epochs[large],
        "few_epochs": case.few_epochs[large],
        "threads": torch.get_num_threads(),
        "seed": SEED,
    }
    settings_file.write_text(json.dumps(settings))
    _checked([python, *program, str(ratings.folder), str(settings_file), str(output)])
    measured: Round = json.loads(output.read_text())
    return measured


def _checked(command: Sequence[str]) -> None:
    threads = str(torch.get_num_threads())
    done = subprocess.run(
        command,
        env=environment(OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")


def tables(measured: Mapping[str, float | str], shown: Callable[[float | str], str]) -> str:
    """A table for each case, a row for each way of it, in place of a long list.

    Args:
        measured: by `run`.
        shown: how a value is written.
    """
    cases: dict[str, dict[str, dict[str, float | str]]] = {}
    for name, value in measured.items():
        size, case, way, measure = name.split("/")
        cases.setdefault(f"{size}/{case}", {}).setdefault(way, {})[measure] = value
    lines: list[str] = []
    for case, ways in cases.items():
        size, name = case.split("/")
        lines += [
            f"{CASES[name].title} (`{case}`):",
            "",
            "| | " + " | ".join(MEASURES.values()) + " |",
        ]
        lines += ["| --- |" + " ---: |" * len(MEASURES)]
        for way, values in ways.items():
            if "absent" in values:
                cells = [f"absent: {values['absent']}", *[""] * (len(MEASURES) - 1)]
            else:
                cells = []
                for measure in MEASURES:
                    aim = AIMS.get(f"{case}/{way}/{measure}")
                    value = values.get(measure, "")
                    if measure.endswith("per_second") and not isinstance(value, str):
                        value /= 1e6
                    text = shown(value)
                    cells.append(f"{text} ({aim})" if aim and text else text)
            lines.append(f"| {way} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)

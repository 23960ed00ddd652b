"""What other packages reach on our protocols.

Where a method has several settings, each is tried with seed 42 on a validation part and the best is
taken.
"""

import json
import logging
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers import ratings_runner
from benchmarks.peers.environments import environment_of, version
from benchmarks.peers.methods import PROTOCOLS, Method, Protocol, Settings
from benchmarks.processes import environment
from benchmarks.results.measured_run import mean_and_deviation
from lightning_collab.config.compose import composed_run
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.metrics.rankings import rank_part
from lightning_collab.runs.files import write_atomically
from lightning_collab.training.build import load_data

log = logging.getLogger(__name__)

FIRST_SEED = 42
HELD_OUT = 0.1
K = 10
LONGEST_SECONDS = 3600


class Scores(NamedTuple):
    """A matrix as what ranks by scores takes it.

    Attributes:
        matrix: float32 [users, items], in the order of their rows without the first.
    """

    matrix: Tensor

    @property
    def items(self) -> int:
        """How many items are scored."""
        return self.matrix.shape[1]

    def of_users(self, users: slice | Tensor, out: Tensor | None = None) -> Tensor:
        """Scores of users by their rows."""
        del out
        if isinstance(users, slice):
            return self.matrix[users.start - 1 : users.stop - 1]
        return self.matrix[users - 1]


@dataclass(frozen=True)
class Measured:
    """One row of a table.

    Attributes:
        method: what was measured.
        settings: those taken, of all that were tried.
        numbers: by the name of the metric, one a seed; empty: it could not be.
        problem: why it could not be.
    """

    method: Method
    settings: Settings
    numbers: dict[str, list[float]]
    problem: str = ""


class Measurement:
    """The methods of a protocol, each fit kept so that it is not repeated."""

    def __init__(self, folder: Path, seeds: int) -> None:
        """Nothing is run yet.

        Args:
            folder: of what is kept.
            seeds: how many, from 42 on.
        """
        self.folder = folder
        self.seeds = range(FIRST_SEED, FIRST_SEED + seeds)
        self._best: dict[tuple[str, str], Settings] = {}

    def of(self, protocol: Protocol) -> Iterator[Measured]:
        """Measure each of its methods, in its order."""
        for method in protocol.methods:
            there = environment_of(method.package)
            if there.python is None:
                yield Measured(method, {}, {}, there.problem)
                continue
            chosen = self._chosen(protocol, method, there.python)
            self._best[protocol.name, method.title] = chosen
            fits = [
                self._fit(protocol, method, there.python, chosen, seed, protocol.part)
                for seed in self.seeds
            ]
            numbers = {name: [fit[name] for fit in fits] for name in fits[0]}
            yield Measured(method, chosen, numbers)

    def _chosen(self, protocol: Protocol, method: Method, python: str) -> Settings:
        """Those that are best on the validation part."""
        if protocol.settings_of:
            return self._best[protocol.settings_of, method.title]
        tried = method.settings()
        if len(tried) == 1:
            return tried[0]
        found = [
            self._fit(protocol, method, python, each, FIRST_SEED, "held_out") for each in tried
        ]
        if protocol.liked is None:
            return tried[int(np.argmin([each["rmse"] for each in found]))]
        return tried[int(np.argmax([each["ndcg"] for each in found]))]

    def _fit(
        self,
        protocol: Protocol,
        method: Method,
        python: str,
        settings: Settings,
        seed: int,
        part: str,
    ) -> dict[str, float]:
        """Its numbers, from what is kept where that is there."""
        told = {key: value for key, value in settings.items() if key != "keys"}
        of_settings = "-".join(f"{key}={value}" for key, value in told.items())
        name = f"{method.function}-{of_settings}-{part}-{seed}.json"
        kept = self.folder / protocol.name / version(method.package) / name
        if not kept.is_file():
            log.info("%s: %s, %s, seed %d, %s", protocol.name, method.title, part, seed, told)
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as place:
                files = [Path(place) / each for each in ("rows.npz", "settings.json", "out.npz")]
                data = _data(protocol, seed)
                asked = {
                    **settings,
                    "seed": seed,
                    "threads": 1,
                    "rating_range": list(data.table.rating_range),
                }
                files[1].write_text(json.dumps(asked))
                measure = _ratings if protocol.liked is None else _rankings
                numbers = measure(
                    protocol, data, part, files[0], lambda: _run(python, method, files)
                )
            write_atomically(kept, json.dumps(numbers))
        found: dict[str, float] = json.loads(kept.read_text())
        return found


def _data(protocol: Protocol, seed: int) -> RatingDataModule:
    of_seed = () if protocol.seed_key is None else (f"{protocol.seed_key}={seed}",)
    return load_data(composed_run(*protocol.typed, *of_seed))


def _run(python: str, method: Method, files: list[Path]) -> dict[str, Any]:
    """What a runner has written."""
    done = subprocess.run(
        [python, method.runner, method.function, *map(str, files)],
        env=environment(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"),
        cwd=files[0].parent,  # where some leave logs
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{method.title} failed:\n{done.stderr[-3000:]}")
    with np.load(files[2]) as file:
        return dict(file)


def _ratings(
    protocol: Protocol, data: RatingDataModule, part: str, file: Path, run: Any
) -> dict[str, float]:
    """RMSE of a method's predictions, clamped to the scale."""
    train = np.asarray(data.rows.train)
    if part == "held_out":
        held = np.random.default_rng(FIRST_SEED).random(len(train)) < HELD_OUT
        if protocol.held_out:
            held = np.isin(train, load_data(composed_run(*protocol.held_out)).rows.test)
        train, test = train[~held], train[held]
    else:
        test = np.asarray(getattr(data.rows, protocol.part))
    written: dict[str, Any] = {}
    for name, rows in (("train", train), ("test", test)):
        columns = data.columns(rows)
        times = data.table.timestamps
        told = ratings_runner.Rows(
            columns.users.astype(np.int64) - 1,
            columns.items.astype(np.int64) - 1,
            columns.ratings,
            np.zeros(len(rows), np.int64) if times is None else times[rows].astype(np.int64),
        )
        written |= {f"{name}_{key}": value for key, value in told._asdict().items()}
    # Where a part of the training rows is held out, some users and items are left without any.
    for column in ("users", "items"):
        asked = written[f"test_{column}"]
        written[f"test_{column}"] = np.where(np.isin(asked, written[f"train_{column}"]), asked, -1)
    truth = written["test_ratings"]
    np.savez(file, **{**written, "test_ratings": np.zeros_like(truth)})
    out = run()
    if not np.isfinite(out["predictions"]).all():
        raise RuntimeError(f"{protocol.name}: some predictions are no numbers")
    errors = np.clip(out["predictions"], *data.table.rating_range) - truth
    return {"rmse": float(np.sqrt(np.square(errors, dtype=np.float64).mean()))}


def _rankings(
    protocol: Protocol, data: RatingDataModule, part: str, file: Path, run: Any
) -> dict[str, float]:
    """Metrics of rankings by a method's scores."""
    chosen = data.columns(data.rows.train)
    liked = np.ones(len(chosen.users), bool)
    if protocol.liked != "all":
        liked = chosen.ratings >= protocol.liked
    sizes = [len(data.user_vocabulary) - 1, len(data.item_vocabulary) - 1]
    users, items = (each[liked].astype(np.int64) - 1 for each in (chosen.users, chosen.items))
    np.savez(file, users=users, items=items, sizes=sizes)
    out = run()
    of_part = "val" if part == "held_out" else protocol.part
    scores = Scores(torch.from_numpy(out["scores"]))
    found = rank_part(scores, data, of_part, liked=protocol.liked, top_k=[K])
    return {name: found[f"{of_part}/{name}@{K}"] for name in ("ndcg", "recall", "coverage")}


def page(runs: Path, seeds: int) -> str:
    """docs/results/peers.md.

    Args:
        runs: folder of what is kept.
        seeds: how many, from 42 on.
    """
    parts = [
        "# What other packages reach on the same protocols",
        "",
        "Each package in an environment of its own, which the command makes, on the same rows as "
        "our runs, and measured by the same code. Where several settings were tried, the best on "
        "a validation part with seed 42 was taken. ± is the standard deviation over the seeds "
        f"{FIRST_SEED} to {FIRST_SEED + seeds - 1}: of the method's draws, and where the split is "
        "random, of the split. How fast they are, [performance.md](../performance.md) says. The "
        f"page is written by `make peers`, that is `scripts/results.py table=peers seeds={seeds}`. "
        "Ours: [accuracy](accuracy.md), [rankings](ranking.md).",
    ]
    measurement = Measurement(runs / "peers", seeds)
    for protocol in PROTOCOLS:
        table = markdown(list(measurement.of(protocol)))
        parts += ["", f"## {protocol.title}", "", protocol.about, "", table]
    return "\n".join(parts)


def markdown(measured: list[Measured]) -> str:
    """A Markdown table, the best first.

    Args:
        measured: of one protocol.
    """
    there = [each for each in measured if each.numbers]
    ranked = "rmse" not in there[0].numbers
    names = ("ndcg", "recall", "coverage") if ranked else ("rmse",)
    heads = (f"NDCG@{K}", f"recall@{K}", "coverage") if ranked else ("test RMSE",)
    lines = [("method", "package", *heads, "settings")]
    lines.append(("---",) * len(lines[0]))
    sign = -1 if ranked else 1
    for each in sorted(there, key=lambda one: sign * float(np.mean(one.numbers[names[0]]))):
        settings = ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in each.settings.items()
            if key not in ("keys", "model")
        )
        lines.append(
            (
                each.method.title,
                version(each.method.package),
                mean_and_deviation(each.numbers[names[0]]),
                *(f"{np.mean(each.numbers[name]):.3f}" for name in names[1:]),
                settings,
            )
        )
    for each in measured:
        if not each.numbers:
            blank = ("",) * len(heads)
            problem = f"not measured: {each.problem}"
            lines.append((each.method.title, version(each.method.package), *blank, problem))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

"""How soon we and the other packages reach a validation RMSE on MovieLens 100K.

Every package fits in a process of its own, by the interpreter that the config names, with as many
threads and embeddings as long as ours, on the same ratings, with the settings (in `PACKAGES`) that
brought it to the target soonest in a search: over learning rate and decay, of ours also over the
biases' own, the first weights and the shape of the cycle, which the others do not have. Each takes
as few epochs as reach the target; the rounds that follow repeat just that fit, package after
package. How fast they are in long fits, `whole_runs` measures.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.config import PeersConfig
from benchmarks.peers import runner
from benchmarks.peers.environments import environment_of
from benchmarks.processes import environment
from lightning_collab.config.compose import composed_run
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.training.build import load_data

OURS = "lightning_collab"
OUR_RUN = (
    "data=ml_100k",
    "data.batch_size=1",
    "model.init_range=0.035",
    "optimizer=sgd",
    "optimizer.momentum=0",
    "optimizer.lr=0.15",
    "optimizer.groups.biases.lr_scale=0.24",
    "optimizer.groups.embeddings.weight_decay=0.002",
    "optimizer.groups.biases.weight_decay=0.01",
    "optimizer.decay=per_row",
    "scheduler=one_cycle",
    "scheduler.warm_up=0.07",
    "scheduler.start_div=1.8",
    "scheduler.end_div=100",
    "logger=none",
    "callbacks.projector=null",
)
SEED = 42


# Settings of each package's fit; the last is a loop of our own, by our interpreter.
PACKAGES: dict[str, dict[str, float]] = {
    "cornac": {"lr": 0.07, "weight_decay": 0.02},
    "libmf": {"lr": 0.1, "weight_decay": 0.05},
    "surprise": {"lr": 0.05, "weight_decay": 0.05},
    "fastai": {"lr": 5e-3, "weight_decay": 0.1, "batch_size": 64},
    "dataloader": {"lr": 0.5, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 64},
}
AIMS = {f"peers/{name}/seconds_over_ours": "above 1" for name in PACKAGES} | {
    "peers/fastai/ratings_per_second_below_ours": "at least 60 times"
}

Measured = dict[str, float | str]
Round = Callable[[str, int | None], dict[str, float]]


def run(repeats: int, settings: PeersConfig) -> Measured:
    """Measure those packages that are found.

    Args:
        repeats: rounds; in each, every package fits once, and ratios are taken within a round.
        settings: what is compared, and where the packages are.

    Returns:
        For each package `peers/<name>/seconds` (of the fit that reaches the target), `epochs` (of
        that fit), `val_rmse`, `ratings_per_second` and
        `seconds_over_ours`; or, in words, why there are none.
    """
    config = composed_run(*OUR_RUN, f"model.factors={settings.factors}", f"seed={SEED}")
    data = load_data(config)
    low, high = data.table.rating_range
    common: dict[str, Any] = {
        "measure": "to_target",
        "factors": settings.factors,
        "config": config.model_dump(mode="json"),
        "epochs": settings.epochs,
        "target_rmse": settings.target_rmse,
        "rating_range": [low, high],
        "threads": torch.get_num_threads(),
        "seed": SEED,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ratings(folder / "ratings.npz", data)
        found, absent = find_packages(settings)

        def one_round(package: str, epochs: int | None) -> dict[str, float]:
            own = PACKAGES.get(package, {})
            return _fitted(
                package,
                found.get(package, sys.executable),
                {**common, **own, "epochs_needed": epochs},
                folder,
            )

        return compared([OURS, *found], one_round, repeats, settings.target_rmse) | absent


def find_packages(settings: PeersConfig) -> tuple[dict[str, str], Measured]:
    """Which packages there are; those that are not yet are installed.

    Args:
        settings: which interpreters are named.

    Returns:
        The interpreter of each package, and in words why the others are not there.
    """
    found: dict[str, str] = {"dataloader": sys.executable}
    absent: Measured = {}
    for name in PACKAGES:
        if name in found:
            continue
        there = environment_of(name, getattr(settings, name).python)
        if there.python is None:
            absent[f"peers/{name}/absent"] = there.problem
        else:
            found[name] = there.python
    return found, absent


def compared(names: list[str], one_round: Round, repeats: int, target: float) -> Measured:
    """Rounds of all packages, and what they say.

    Args:
        names: of the packages, ours first.
        one_round: from a package and its epochs (None: as few as reach the target) to what
            `runner.to_target` gives.
        repeats: rounds.
        target: validation RMSE.

    Returns:
        Medians by name; ratios are taken within each round.
    """
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(repeats):
        for name in names:
            epochs = int(rounds[name][0]["epochs"]) if number else None
            rounds[name].append(one_round(name, epochs))
    result: Measured = {}
    for name, each in rounds.items():
        reached = each[0]["val_rmse"] <= target
        key = f"peers/{name}"
        seconds = statistics.median(one["seconds"] for one in each)
        result[f"{key}/seconds"] = seconds if reached else f"not reached in {seconds:.4g} s"
        result[f"{key}/epochs"] = each[0]["epochs"]
        result[f"{key}/val_rmse"] = each[0]["val_rmse"]
        result[f"{key}/ratings_per_second"] = statistics.median(
            one["ratings_per_second"] for one in each
        )
        if name != names[0]:
            pairs = list(zip(each, rounds[names[0]], strict=True))
            result[f"{key}/seconds_over_ours"] = statistics.median(
                one["seconds"] / ours["seconds"] for one, ours in pairs
            )
            result[f"{key}/ratings_per_second_below_ours"] = statistics.median(
                ours["ratings_per_second"] / one["ratings_per_second"] for one, ours in pairs
            )
    return result


def write_ratings(path: Path, data: RatingDataModule) -> None:
    """The training part, and of the validation part what it knows, numbered from 0.

    Args:
        path: of the .npz file.
        data: split ratings.
    """
    columns: dict[str, Any] = {}
    for part in ("train", "val"):
        rows = data.columns(getattr(data.rows, part))
        known = (rows.users > 0) & (rows.items > 0)
        ratings = runner.Ratings(rows.users[known] - 1, rows.items[known] - 1, rows.ratings[known])
        columns |= {f"{part}_{name}": each for name, each in ratings._asdict().items()}
    np.savez(path, **columns)


def _fitted(package: str, python: str, settings: dict[str, Any], folder: Path) -> dict[str, float]:
    """One package's fit in a process of its own."""
    settings_file, output = folder / "settings.json", folder / "output.json"
    settings_file.write_text(json.dumps(settings))
    output.unlink(missing_ok=True)
    program = ["-m", "benchmarks.peers.ours"] if package == OURS else [runner.__file__, package]
    threads = str(settings["threads"])
    done = subprocess.run(
        [python, *program, str(folder / "ratings.npz"), str(settings_file), str(output)],
        env=environment(OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{package} failed:\n{done.stderr}")
    fitted: dict[str, float] = json.loads(output.read_text())
    return fitted

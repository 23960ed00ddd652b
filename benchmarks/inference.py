"""What using a trained run costs: one user, all users, pairs, a file of pairs, a fold-in user."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks.fold_in_users import new_person_errors
from benchmarks.processes import environment
from lightning_collab.api.trained_run import TrainedRun, load
from lightning_collab.config.compose import composed_run
from lightning_collab.data.batches import RatingBatch
from lightning_collab.inference.prediction import predict_file
from lightning_collab.inference.table_stream import PairsFile
from lightning_collab.models.item_scores import DotProductScores
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train

PAIRS = 4_000_000
ASKED_USERS = 100
# Users, items and ratings of MovieLens 1M and 20M.
SIZES = {"1m": (6_040, 3_706, 1_000_000), "20m": (138_000, 27_000, 20_000_000)}
AIMS = {
    "one_user/milliseconds": "below 5",
    "all_users/1m_seconds": "below 2 (2 threads)",
    "pairs/1m_per_second": "at least 20,000,000 (2 threads)",
    "load/1m_seconds": "below 2",
    "load/20m_seconds": "below 2",
}

# Every row runs code of ours.
CONTROLS: tuple[str, ...] = ()


def run(repeats: int) -> dict[str, float]:
    """Measure on runs of the sizes of MovieLens 1M and 20M, with 50 factors.

    Args:
        repeats: times that each is measured, of which medians are taken.

    Returns:
        `load/<size>_seconds` (after the imports, in fresh processes); `one_user/milliseconds` for
        the ten best of one user with titles and reasons, `one_user/first_seconds` for the first
        one asked; `all_users/<size>_seconds` for the ten best of everybody in a file,
        `all_users/20m_peak_bytes` beside `all_users/20m_matrix_bytes`, which the matrix of all
        users by all items would take, and `all_users/20m_imported_bytes`, the peak before the run
        is loaded; `pairs/<size>_per_second` of pairs drawn at random, `pairs/<size>_by_user...` of
        the same in the order of the users, and, in turn with the model's own `forward`,
        `pairs/<size>_over_forward`; `file/pairs_per_second` from CSV to Parquet;
        `new_person/...`: see `new_person_errors`.
    """
    measured: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in SIZES:
            path = _trained(folder / size, size)
            processes = [_in_a_process(path, folder) for _ in range(repeats)]
            for kind in ("load", "all_users"):
                measured[f"{kind}/{size}_seconds"] = _median(processes, f"{kind}_seconds")
            trained = load(path)
            if size == "1m":
                measured["one_user/first_seconds"] = _median(processes, "first_user_seconds")
                measured["one_user/milliseconds"] = _one_user(trained) * 1e3
                measured |= _file(trained, folder, repeats)
            else:
                users, items, _ = SIZES[size]
                measured["all_users/20m_peak_bytes"] = _median(processes, "peak_bytes")
                measured["all_users/20m_imported_bytes"] = _median(processes, "imported_bytes")
                measured["all_users/20m_matrix_bytes"] = 4 * users * items
            measured |= _pairs(trained, size, repeats)
        measured |= new_person_errors(folder / "persons")
    return dict(sorted(measured.items()))


def _trained(path: Path, size: str) -> Path:
    """A run of one step: what it costs to use does not depend on how well it is trained."""
    users, items, ratings = SIZES[size]
    config = composed_run(
        "data=synthetic",
        f"data.users={users}",
        f"data.items={items}",
        f"data.ratings={ratings}",
        "data.batch_size=65536",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=1",
        "callbacks.progress_bar=false",
        "logger=none",
    )
    path.mkdir()
    directory = RunDirectory(path)
    train(config, directory, test=False)
    return path


def _in_a_process(path: Path, folder: Path) -> dict[str, float]:
    module = "benchmarks.inference_process"
    command = [sys.executable, "-m", module, str(path), str(folder / "all.parquet")]
    threads = str(torch.get_num_threads())
    done = subprocess.run(
        [*command, threads], env=environment(), capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _median(processes: list[dict[str, float]], key: str) -> float:
    return statistics.median(each[key] for each in processes)


def _one_user(trained: TrainedRun) -> float:
    """Median seconds of one question, over users."""
    trained.recommend(user=trained.users["user"][0])
    asked = [
        _seconds(partial(trained.recommend, user=user))
        for user in trained.users["user"].head(ASKED_USERS)
    ]
    return statistics.median(asked)


def _pairs(trained: TrainedRun, size: str, repeats: int) -> dict[str, float]:
    """Pairs of rows drawn at random, each user and item alike: the worst for the caches.

    In the order of the users, as files mostly are, each user's row is read once.
    """
    random = np.random.default_rng(0)
    users, items = (
        random.integers(1, len(vocabulary), PAIRS, dtype=np.int32)
        for vocabulary in (trained.user_vocabulary, trained.item_vocabulary)
    )
    scores = trained.item_scores
    assert isinstance(scores, DotProductScores)
    scores.of_pairs(users[:10], items[:10])
    step = 1 << 17
    batches = [
        RatingBatch(
            torch.from_numpy(users[start : start + step]),
            torch.from_numpy(items[start : start + step]),
            torch.empty(0),
        )
        for start in range(0, PAIRS, step)
    ]
    order = users.argsort(kind="stable")
    sorted_pairs = users[order], items[order]
    ours, by_user, forwards = [], [], []
    for _ in range(repeats):
        ours.append(_seconds(lambda: scores.of_pairs(users, items)))
        by_user.append(_seconds(lambda: scores.of_pairs(*sorted_pairs)))
        forwards.append(_seconds(lambda: [trained.model(batch) for batch in batches]))
    ratios = [theirs / own for own, theirs in zip(ours, forwards, strict=True)]
    return {
        f"pairs/{size}_per_second": PAIRS / statistics.median(ours),
        f"pairs/{size}_by_user_per_second": PAIRS / statistics.median(by_user),
        f"pairs/{size}_over_forward": statistics.median(ratios),
    }


def _file(trained: TrainedRun, folder: Path, repeats: int) -> dict[str, float]:
    random = np.random.default_rng(1)
    pairs = pl.DataFrame(
        {
            "user": trained.users["user"].gather(random.integers(0, len(trained.users), PAIRS)),
            "item": trained.items["item"].gather(random.integers(0, len(trained.items), PAIRS)),
        }
    )
    source, output = folder / "pairs.csv", folder / "predictions.parquet"
    pairs.write_csv(source)
    columns: dict[str, str | None] = {"user": None, "item": None}
    seconds = [
        _seconds(lambda: predict_file(trained, PairsFile.open(source, columns), output))
        for _ in range(repeats)
    ]
    return {"file/pairs_per_second": PAIRS / statistics.median(seconds)}


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began

"""BPR by another package, in a process of its own and, where it needs one, its own interpreter.

Run as a file (`python bpr_runner.py <package> <input.npz> <settings.json>`) by an interpreter that
may have neither lightning-collab nor its dependencies; prints the seconds of an epoch.

An epoch is had as the difference of two fits, so that what a package sets up is not counted.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Settings = dict[str, Any]
Fit = Callable[[int], Any]

FEW_EPOCHS, MANY_EPOCHS = 1, 5


def cornac(users: Any, items: Any, settings: Settings) -> Fit:
    """Cornac's BPR: SGD on one triple at a time, the negative verified."""
    from cornac.data import Dataset
    from cornac.models import BPR

    data = Dataset.from_uir(zip(users, items, np.ones(len(users)), strict=True), seed=0)

    def fit(epochs: int) -> Any:
        return BPR(
            k=settings["factors"],
            max_iter=epochs,
            learning_rate=0.05,
            lambda_reg=0.01,
            num_threads=settings["threads"],
            seed=42,
        ).fit(data)

    return fit


def implicit(users: Any, items: Any, settings: Settings) -> Fit:
    """BPR of implicit: likewise."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix

    data = csr_matrix((np.ones(len(users), np.float32), (users, items)))

    def fit(epochs: int) -> Any:
        return BayesianPersonalizedRanking(
            factors=settings["factors"],
            learning_rate=0.05,
            regularization=0.01,
            iterations=epochs,
            num_threads=settings["threads"],
            random_state=42,
        ).fit(data, show_progress=False)

    return fit


PACKAGES = {"cornac": cornac, "implicit": implicit}


def epoch_seconds(fit: Fit) -> float:
    """Seconds of an epoch, without what a fit does but once."""
    seconds = []
    for epochs in (FEW_EPOCHS, MANY_EPOCHS):
        started = time.perf_counter()
        fit(epochs)
        seconds.append(time.perf_counter() - started)
    return (seconds[1] - seconds[0]) / (MANY_EPOCHS - FEW_EPOCHS)


def main(package: str, pairs: str, settings_file: str) -> None:
    """Measure one package; see the module."""
    settings: Settings = json.loads(Path(settings_file).read_text())
    with np.load(pairs) as file:
        users, items = file["users"], file["items"]
    sys.stdout.write(f"{epoch_seconds(PACKAGES[package](users, items, settings))}\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(*sys.argv[1:])

"""What a second thread gains for steps on single ratings, and what a second core could."""

import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from benchmarks.epochs import StepClock, epoch_seconds
from lightning_collab.config import RunConfig
from lightning_collab.config.compose import composed_run
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.models.rating_output import Output
from lightning_collab.training.build import load_data
from lightning_collab.training.fused.per_sample import Rates, Samples, Weights, per_sample_sgd

EPOCHS = 8


def two_threads(case: str, overrides: Sequence[str], repeats: int) -> dict[str, float | str]:
    """Single ratings by two threads and by one.

    Args:
        case: names the measures.
        overrides: of a run by plain SGD on single ratings.
        repeats: paired runs, of which medians are taken.

    Returns:
        `engines/threads/<case>/...`: `one_ratings_per_second` and `two_ratings_per_second` of the
        optimizer's steps; `two_over_one`, how many times as fast they are by two threads;
        `two_over_one_of_the_epoch`, whole epochs in the Trainer; and, as what no two threads on
        this machine can exceed, `two_strangers_over_one`: both have tables and ratings of their
        own, half as many, and nothing in common.
    """
    name = f"engines/threads/{case}"
    if (os.cpu_count() or 1) < 2:
        return {f"{name}/two_over_one": "needs two cores"}
    one, two = (composed_run(*overrides, f"training.sgd_threads={n}") for n in (1, 2))
    data = load_data(one)
    for config in (one, two):
        epoch_seconds(config, data, 2)
    seconds, epochs, strangers = [], [], []
    for _ in range(repeats):
        clocks = StepClock(), StepClock()
        of_an_epoch = [
            epoch_seconds(config, data, EPOCHS, clock)
            for config, clock in zip((one, two), clocks, strict=True)
        ]
        seconds.append([_of_an_epoch(clock.seconds) for clock in clocks])
        epochs.append(of_an_epoch[0] / of_an_epoch[1])
        strangers.append(_strangers(one, data))
    ratings = len(data.rows.train)
    return {
        f"{name}/one_ratings_per_second": statistics.median(ratings / one for one, _ in seconds),
        f"{name}/two_ratings_per_second": statistics.median(ratings / two for _, two in seconds),
        f"{name}/two_over_one": statistics.median(one / two for one, two in seconds),
        f"{name}/two_over_one_of_the_epoch": statistics.median(epochs),
        f"{name}/two_strangers_over_one": statistics.median(strangers),
    }


def _of_an_epoch(step_blocks: list[float]) -> float:
    """Median over epochs of the seconds of all blocks of an epoch."""
    return float(np.median(np.reshape(step_blocks, (EPOCHS, -1)).sum(1)))


def _strangers(config: RunConfig, data: RatingDataModule) -> float:
    """Twice the speed of one thread would be 2."""
    columns = data.columns(data.rows.train)
    order = np.random.default_rng(0).permutation(len(columns.ratings))

    def take(chosen: NDArray[np.int64]) -> None:
        mine = Samples(
            columns.users[chosen],
            columns.items[chosen],
            columns.ratings[chosen],
            np.ones(len(chosen)),
        )
        rows = len(data.user_vocabulary), len(data.item_vocabulary)
        random = np.random.default_rng(0)
        factors = [
            random.normal(0, 0.05, (n, config.model.factors)).astype(np.float32) for n in rows
        ]
        biases = [np.zeros((n, 1), np.float32) for n in rows]
        weights = Weights(*factors, *biases)
        started = time.perf_counter()
        for _ in range(EPOCHS):
            per_sample_sgd(
                mine,
                weights,
                Rates(0.02, 0.02, 0.03, 0.03),
                Output(True, 0.5, 4.5),
                np.zeros(len(mine.ratings)),
            )
        seconds.append(time.perf_counter() - started)

    seconds: list[float] = []
    take(order)
    alone = seconds.pop()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(take, np.array_split(order, 2)))
    return alone / max(seconds)

"""Reading, keeping and generating ratings: seconds, bytes a rating and peak memory.

The large ones run once, each in a process of its own, whose peak memory is then its own too.
"""

import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import polars as pl
import torch

from lightning_collab.config import RunConfig
from lightning_collab.config.compose import composed_run
from lightning_collab.data import table_cache
from lightning_collab.data.sources import load_ratings
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.build import load_data
from lightning_collab.training.console import run_log
from lightning_collab.training.run import train

CSV_RATINGS = 20_000_000
LARGE_RATINGS = 100_000_000
LARGE_RUN = (
    "data=synthetic",
    f"data.ratings={LARGE_RATINGS}",
    "data.batch_size=262144",
    "model=embedding_dot_bias",
    "optimizer=sgd",
    "trainer.max_epochs=1",
    "logger=none",
    "callbacks.progress_bar=false",
)


def run(repeats: int) -> dict[str, float]:
    """Measure the small ones `repeats` times, the large ones once.

    Args:
        repeats: runs of which medians are taken.

    Returns:
        Seconds, bytes and ratios by name.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        csv = folder / "ratings.csv"
        reading = composed_run(
            "data=csv",
            f"data.path={csv}",
            "data.columns.timestamp=timestamp",
            "data.rating_range=[0.5,5]",
            "data.cache=false",
        )
        writing = composed_run(
            "data=synthetic", f"data.ratings={CSV_RATINGS}", "data.timestamps=true"
        )
        result = _small(composed_run("data=ml_100k"), folder / "cache", repeats)
        _in_a_process(_write_csv, writing, csv)
        result |= _in_a_process(_read_csv, reading, csv)
        csv.unlink()
        result |= _in_a_process(_large, composed_run(*LARGE_RUN), folder / "run")
    return result


def _small(config: RunConfig, cache: Path, repeats: int) -> dict[str, float]:
    """MovieLens 100K parsed, and opened from the cache."""
    parsed = config.data.model_copy(update={"cache": False})
    kept = config.data.model_copy(update={"cache": True})
    with mock.patch.dict(os.environ, {table_cache.ENVIRONMENT_VARIABLE: str(cache)}):
        load_ratings(kept)
        pairs = [
            (_seconds(lambda: load_ratings(parsed)), _seconds(lambda: load_ratings(kept)))
            for _ in range(repeats)
        ]
    parse, opened = (statistics.median(each) for each in zip(*pairs, strict=True))
    return {
        "data/ml_100k/parse_seconds": parse,
        "data/ml_100k/cache_seconds": opened,
        "data/ml_100k/cache_over_parse": statistics.median(two / one for one, two in pairs),
    }


def _write_csv(config: RunConfig, csv: Path) -> dict[str, float]:
    table = load_ratings(config.data)
    columns = {"user": table.users, "item": table.items, "rating": table.ratings}
    pl.DataFrame({**columns, "timestamp": table.timestamps}).write_csv(csv)
    return {}


def _read_csv(config: RunConfig, csv: Path) -> dict[str, float]:
    started = time.perf_counter()
    table = load_ratings(config.data)
    return {
        "data/csv_20m/parse_seconds": time.perf_counter() - started,
        "data/csv_20m/peak_rss_bytes": _peak_bytes(),
        "data/csv_20m/file_bytes": csv.stat().st_size,
        "data/bytes_per_rating": (table.users.nbytes + table.items.nbytes + table.ratings.nbytes)
        / len(table),
    }


def _large(config: RunConfig, run: Path) -> dict[str, float]:
    started = time.perf_counter()
    table = load_ratings(config.data)
    drawn = time.perf_counter()
    data = load_data(config, table)
    split = time.perf_counter()
    run.mkdir()
    with run_log(None, quiet=True):
        metrics = train(config, RunDirectory(run), data=data)
    return {
        "data/synthetic_100m/draw_seconds": drawn - started,
        "data/synthetic_100m/split_seconds": split - drawn,
        "data/synthetic_100m/epoch_seconds": metrics["fit_seconds"],
        "data/synthetic_100m/whole_seconds": time.perf_counter() - started,
        "data/synthetic_100m/peak_rss_bytes": _peak_bytes(),
    }


def _in_a_process(
    work: Callable[[RunConfig, Path], dict[str, float]], config: RunConfig, path: Path
) -> dict[str, float]:
    pool = ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(torch.get_num_threads(),),
    )
    with pool:
        return pool.submit(work, config, path).result()


def _peak_bytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

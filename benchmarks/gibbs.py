"""What a sweep of Gibbs sampling costs: seconds, memory, and how both grow with the ratings.

Each run is a process of its own, so that its peak memory is that of the run alone.
"""

import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.config import GibbsBenchmarkConfig
from lightning_collab.config import validated
from lightning_collab.config.compose import composed_run

QUIET = (
    "logger=none",
    "callbacks.progress_bar=false",
    "callbacks.projector=null",
    "callbacks.report=null",
)
EVERYTHING = "experiment=ml_100k_u1_bayesian_factors_everything"
SYNTHETIC = (
    "data=synthetic",
    "split=random",
    "split.test=0",
    "model=bayesian_factors",
    "split.val=0",
)
FEW, MORE = 250_000, 1_000_000
GIBIBYTE = 1 << 30
AIMS = {
    "gibbs/ml_100k_everything/200_sweeps_seconds": "at most 10, threads=1",
    "gibbs/million/120_sweeps_seconds": "at most 90, threads=2",
    "gibbs/million/peak_gibibytes": "at most 2",
    "gibbs/many/peak_gibibytes": "at most 12",
}


class Cost(NamedTuple):
    """What a run took.

    Attributes:
        seconds: of the fit, from the first sweep to the last checkpoint.
        peak_bytes: resident memory of the process at most, ratings and libraries included.
    """

    seconds: float
    peak_bytes: float


def run(repeats: int, settings: GibbsBenchmarkConfig) -> dict[str, float]:
    """Measure each kind of run.

    Args:
        repeats: of each run, of which medians are taken; the large one runs once.
        settings: its size.

    Returns:
        Seconds, peak memory, and `gibbs/linearity`: how much more a sweep over four times the
        ratings costs, over four.
    """
    threads = f"trainer.threads={settings.threads}"
    result: dict[str, float] = {}
    _cost(1, EVERYTHING, "model.burn_in=0", sweeps=2)  # compiles the kernels
    cost = _cost(repeats, EVERYTHING, sweeps=200)
    result["gibbs/ml_100k_everything/200_sweeps_seconds"] = cost.seconds
    result["gibbs/ml_100k_everything/peak_gibibytes"] = cost.peak_bytes / GIBIBYTE
    size = f"data.ratings={MORE}"
    cost = _cost(repeats, *SYNTHETIC, size, threads, sweeps=120)
    result["gibbs/million/120_sweeps_seconds"] = cost.seconds
    result["gibbs/million/peak_gibibytes"] = cost.peak_bytes / GIBIBYTE
    cost = _cost(repeats, *SYNTHETIC, size, threads, "features=history", sweeps=120)
    result["gibbs/million_with_history/120_sweeps_seconds"] = cost.seconds
    result["gibbs/million_with_history/peak_gibibytes"] = cost.peak_bytes / GIBIBYTE
    result["gibbs/linearity"] = statistics.median(
        _sweep_seconds(MORE, threads) / _sweep_seconds(FEW, threads) / (MORE / FEW)
        for _ in range(repeats)
    )
    if settings.many_ratings is not None:
        many = (
            f"data.ratings={settings.many_ratings}",
            "data.users=138000",
            "data.items=27000",
            "features=history",
            "model.samples=50",
            "model.burn_in=1",
        )
        cost = _cost(1, *SYNTHETIC, *many, threads, sweeps=settings.many_sweeps)
        result["gibbs/many/ratings"] = settings.many_ratings
        result["gibbs/many/seconds_a_sweep"] = cost.seconds / settings.many_sweeps
        result["gibbs/many/peak_gibibytes"] = cost.peak_bytes / GIBIBYTE
    return result


def _sweep_seconds(ratings: int, threads: str) -> float:
    """Of one more sweep: what 30 take beyond what 10 take, start and checkpoint apart."""
    size = f"data.ratings={ratings}"
    more, fewer = (_cost(1, *SYNTHETIC, size, threads, sweeps=sweeps) for sweeps in (30, 10))
    return (more.seconds - fewer.seconds) / 20


def _cost(repeats: int, *overrides: str, sweeps: int) -> Cost:
    """Medians over several runs."""
    burn_in = () if any("burn_in" in each for each in overrides) else ("model.burn_in=5",)
    config = composed_run(*overrides, *burn_in, *QUIET, f"trainer.max_epochs={sweeps}")
    plain = config.model_dump(mode="json")
    costs = []
    for _ in range(repeats):
        # A fresh process for each: its peak memory is of one run.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            costs.append(process.submit(_train, plain).result())
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def _train(config: dict[str, Any]) -> Cost:
    from lightning_collab.runs.directory import RunDirectory
    from lightning_collab.training.console import run_log
    from lightning_collab.training.run import train

    with tempfile.TemporaryDirectory() as folder, run_log(None, silent=True):
        metrics = train(validated(config), RunDirectory(Path(folder)), test=False)
    return Cost(metrics["fit_seconds"], metrics["peak_rss_bytes"])

"""Two ranks against one, and split tables against whole ones, each run in processes of its own."""

import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cost_model import Devices, StepCost, Training, split_tables, whole_tables
from benchmarks.processes import environment
from benchmarks.rank_process import REQUEST_FILE, WARM_UP
from lightning_collab.config.compose import composed_run
from lightning_collab.runs.files import write_atomically
from lightning_collab.runs.launch import VARIABLES

BATCH_SIZE = 65_536
FACTORS = 50
STEPS, MANY_STEPS = WARM_UP + 12, WARM_UP + 60
COMMON = (
    "training.engine=eager",
    "model=embedding_dot_bias",
    f"model.factors={FACTORS}",
    f"data.batch_size={BATCH_SIZE}",
    "optimizer=adamw",
    "scheduler=constant",
    "logger=none",
    "trainer.threads=1",
)
ONE, DDP = ("trainer=cpu",), ("trainer=ddp_cpu", "trainer.devices=2")
ROW = (*DDP, "model.sharding=row")
# Steps that each of two ranks takes by itself.
SYNC_EVERY = (4, 16, 64)


class Tables(NamedTuple):
    """How many rows there are."""

    users: int
    items: int


# As many as MovieLens 1M has; and tables of 305 MiB, where memory is what counts.
SMALL, LARGE = Tables(6_041, 3_707), Tables(1_499_000, 70_000)
AIMS = {
    "ranks/two_over_one_throughput": "at least 1.5",
    "ranks/sync_every_16/two_over_one_throughput": "at least 1.5",
    "ranks/large_tables/split_share_of_parameters": "0.45 to 0.55",
    "ranks/large_tables/split_share_of_gradients": "0.45 to 0.55",
    "ranks/large_tables/split_share_of_state": "0.45 to 0.55",
}

# Every row runs code of ours.
CONTROLS: tuple[str, ...] = ()


def run(repeats: int) -> dict[str, float]:
    """Measure each way in turn.

    Args:
        repeats: of each; medians are taken, of ratios within a repeat.

    Returns:
        `ranks/...`: ratings a second of one rank and of two, also where these average their weights
        now and then alone, and how much more the machine gives to two processes that have nothing
        to do with one another; for large tables the bytes that a
        rank holds with split tables as shares of what it holds with whole ones, the peak memory of
        both; bytes over the loopback and seconds of talking as the cost model has them over those
        measured.
    """
    ones, twos, halves = [], [], []
    apart: dict[int, list[float]] = {every: [] for every in SYNC_EVERY}
    for _ in range(repeats):
        ones.append(_measured(SMALL, ONE)[0]["step_seconds"])
        twos.append(_measured(SMALL, DDP)[0]["step_seconds"])
        for every, seconds in apart.items():
            way = (*DDP, f"trainer.sync_every={every}")
            seconds.append(_measured(SMALL, way)[0]["step_seconds"])
        halves.append(_two_strangers())
    result = {
        "ranks/one_rank_ratings_per_second": BATCH_SIZE / statistics.median(ones),
        "ranks/two_ranks_ratings_per_second": BATCH_SIZE / statistics.median(twos),
        "ranks/two_over_one_throughput": _median_ratio(ones, twos),
        "ranks/two_strangers_over_one_throughput": _median_ratio(ones, halves),
    }
    for every, seconds in apart.items():
        ratio = _median_ratio(ones, seconds)
        result[f"ranks/sync_every_{every}/two_over_one_throughput"] = ratio
    large = [(_measured(LARGE, DDP), _measured(LARGE, ROW)) for _ in range(repeats)]
    whole, split = large[-1]
    where = "ranks/large_tables"
    for part in ("parameter", "gradient", "state"):
        most = max(rank[f"{part}_bytes"] for rank in split)
        name = {"parameter": "parameters", "gradient": "gradients", "state": "state"}[part]
        result[f"{where}/split_share_of_{name}"] = most / whole[0][f"{part}_bytes"]
    for name, ranks in (("whole", whole), ("split", split)):
        peak = max(rank["peak_rss_bytes"] for rank in ranks)
        result[f"{where}/{name}_peak_rss_mebibytes"] = peak / 2**20
    result[f"{where}/peak_rss_at_start_mebibytes"] = split[0]["rss_bytes_at_start"] / 2**20
    result[f"{where}/split_over_whole_step_seconds"] = statistics.median(
        b[0]["step_seconds"] / a[0]["step_seconds"] for a, b in large
    )
    training = Training(*LARGE, widths=(FACTORS, 1), batch_size=BATCH_SIZE)
    for name, ranks, cost in (
        ("whole", whole, whole_tables(training, 2)),
        ("split", split, split_tables(training, 2, gloo=True)),
    ):
        result |= _against_the_model(f"{where}/{name}", ranks, cost)
    return result


def _median_ratio(ones: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def _against_the_model(
    where: str, ranks: list[dict[str, float]], cost: StepCost
) -> dict[str, float]:
    here = Devices(
        ranks=2,
        link=ranks[0]["link_bytes_per_second"],
        latency=ranks[0]["latency_seconds"],
        memory=ranks[0]["memory_bytes_per_second"],
    )
    resident = sum(ranks[0][f"{part}_bytes"] for part in ("parameter", "gradient", "state"))
    return {
        f"{where}_model_over_measured_resident_bytes": cost.resident_bytes / resident,
        # Both ranks send over the one loopback.
        f"{where}_model_over_measured_sent_bytes": 2
        * cost.sent_bytes
        / max(ranks[0]["loopback_bytes"], 1.0),
        f"{where}_model_over_measured_seconds": cost.seconds(here) / ranks[0]["step_seconds"],
    }


def _two_strangers() -> float:
    """Seconds of a step where two processes have half a batch each and nothing to say.

    No two ranks can do better on this machine.
    """
    half = f"data.batch_size={BATCH_SIZE // 2}"
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(_run, _request(SMALL, (*ONE, half))) for _ in range(2)]
        return max(run.result()[0]["step_seconds"] for run in runs)


def _measured(tables: Tables, way: tuple[str, ...]) -> list[dict[str, float]]:
    """What each rank of a run in processes of its own has measured."""
    return _run(_request(tables, way))


def _request(tables: Tables, way: tuple[str, ...]) -> dict[str, Any]:
    return {
        "config": composed_run(*COMMON, *way).model_dump(mode="json"),
        "users": tables.users,
        "items": tables.items,
        "steps": STEPS if tables is LARGE else MANY_STEPS,
    }


def _run(request: dict[str, Any]) -> list[dict[str, float]]:
    alone = {key: value for key, value in environment().items() if key not in VARIABLES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_atomically(folder / REQUEST_FILE, json.dumps(request))
        module = "benchmarks.rank_process"
        subprocess.run(
            [sys.executable, "-m", module, name],
            env={**alone, "OMP_NUM_THREADS": "1"},
            check=True,
            stderr=subprocess.DEVNULL,
        )
        ranks = sorted(folder.glob("rank-*.json"))
        return [json.loads(each.read_text()) for each in ranks]

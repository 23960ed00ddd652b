"""A GPU against the CPU's kernels and a bare loop, launches of a step, two GPUs against one.

What the machine lacks is skipped by name: without a GPU every row says so.
"""

import logging
import statistics
import time
import warnings
from collections.abc import Sequence

import pytorch_lightning as pl
import torch

from benchmarks.bare_loop import BareLoop
from benchmarks.epochs import EpochClock
from lightning_collab.config.compose import composed_run
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.training.build import build_module, load_data

QUIET = ("logger=none", "callbacks.projector=null", "scheduler=constant", "model.factors=64")
RATINGS = ("data=synthetic", "data.ratings=2000000")
# What the bare loop does.
SGD = ("optimizer=sgd", "optimizer.decay=gradient", "optimizer.lr=0.05")
SOFTMAX = ("loss=softmax", "loss.positives=4", "data.batch_size=256")
BATCHES = (512, 4096, 65536)
NETWORKS = {"dot_product": (), "network": ("model=embedding_net",)}
EPOCHS = 3
NO_GPU, NO_SECOND = "skipped: no CUDA device", "skipped: a second CUDA device is needed"

Measured = dict[str, float | str]


def run(repeats: int) -> Measured:
    """Measure what there is.

    Args:
        repeats: paired runs, of which medians are taken.

    Returns:
        `gpu/batch_<n>/...`: seconds of an epoch of two million ratings on the GPU, by the fused
        CPU engine, by a bare loop of torch on the GPU and as CUDA graphs, and their ratios;
        `gpu/<model>/launches_a_step` and `.../peak_megabytes`; `gpu/softmax/...` over the catalog;
        `gpu/two_devices/two_over_one`. Words where the machine lacks what it needs.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    cases = [f"batch_{size}" for size in BATCHES] + [*NETWORKS, "softmax"]
    if not torch.cuda.is_available():
        return {f"gpu/{case}": NO_GPU for case in (*cases, "two_devices")}
    data = load_data(composed_run(*RATINGS, *QUIET))
    result: Measured = {}
    for size in BATCHES:
        result |= _epochs(f"gpu/batch_{size}", data, (*SGD, f"data.batch_size={size}"), repeats)
    for name, model in NETWORKS.items():
        result |= _step(f"gpu/{name}", data, (*model, "data.batch_size=4096"))
    result |= _softmax(data, repeats)
    if torch.cuda.device_count() < 2:
        return {**result, "gpu/two_devices": NO_SECOND}
    large = "data.batch_size=65536"
    pairs = [(_seconds(data, [large], 1), _seconds(data, [large], 2)) for _ in range(repeats)]
    return {**result, "gpu/two_devices/two_over_one": statistics.median(a / b for a, b in pairs)}


def _epochs(name: str, data: RatingDataModule, overrides: Sequence[str], repeats: int) -> Measured:
    config = composed_run(*RATINGS, *QUIET, *overrides)
    found = []
    for _ in range(repeats):
        loop = BareLoop.of(config, data).on("cuda")
        loop.epoch()
        graphs = _seconds(data, (*overrides, "training.engine=graphs"), 1)
        here, cpu = (_seconds(data, overrides, devices) for devices in (1, 0))
        found.append((here, cpu, loop.epoch()[0], graphs))
    of_gpu, of_cpu, of_loop, of_graphs = map(statistics.median, zip(*found, strict=True))
    return {
        f"{name}/gpu_seconds": of_gpu,
        f"{name}/fused_cpu_seconds": of_cpu,
        f"{name}/bare_loop_seconds": of_loop,
        f"{name}/graphs_seconds": of_graphs,
        f"{name}/gpu_over_fused_cpu": statistics.median(cpu / here for here, cpu, _, _ in found),
        f"{name}/gpu_over_bare_loop": statistics.median(loop / here for here, _, loop, _ in found),
        f"{name}/graphs_over_gpu": statistics.median(here / each for here, _, _, each in found),
    }


def _seconds(data: RatingDataModule, overrides: Sequence[str], devices: int) -> float:
    """Of an epoch after the first, on so many GPUs; 0: on the CPU."""
    config = composed_run(*RATINGS, *QUIET, *overrides)
    clock = EpochClock()
    where = {"accelerator": "cuda", "devices": devices} if devices else {"accelerator": "cpu"}
    trainer = pl.Trainer(
        **where,
        strategy="ddp_spawn" if devices > 1 else "auto",
        max_epochs=EPOCHS,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    started = time.perf_counter()
    trainer.fit(build_module(config, data), datamodule=data_of(data, config.batch_size))
    # Ranks that were started have clocks of their own: of these, what the whole fit takes.
    whole = (time.perf_counter() - started) / EPOCHS
    return statistics.median(clock.seconds[1:]) if clock.seconds else whole


def data_of(data: RatingDataModule, size: int | str) -> RatingDataModule:
    """The same ratings in other batches."""
    settings = data.settings.model_copy(update={"batch_size": size})
    return RatingDataModule(
        data.table, batch_size=settings.batch_size, split=settings.split, seed=settings.seed
    )


def _step(name: str, data: RatingDataModule, overrides: Sequence[str]) -> Measured:
    """Kernels that a step launches, and the most memory that the fit holds."""
    torch.cuda.reset_peak_memory_stats()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        _seconds(data, overrides, 1)
    kernels = [each for each in profile.events() if not each.name.startswith(("Memcpy", "Memset"))]
    steps = EPOCHS * data_of(data, 4096).batches_per_epoch
    return {
        f"{name}/launches_a_step": len(kernels) / steps,
        f"{name}/peak_megabytes": torch.cuda.max_memory_allocated() / 1e6,
    }


def _softmax(data: RatingDataModule, repeats: int) -> Measured:
    pairs = [(_seconds(data, SOFTMAX, 1), _seconds(data, SOFTMAX, 0)) for _ in range(repeats)]
    return {
        "gpu/softmax/gpu_seconds": statistics.median(here for here, _ in pairs),
        "gpu/softmax/gpu_over_fused_cpu": statistics.median(cpu / here for here, cpu in pairs),
    }

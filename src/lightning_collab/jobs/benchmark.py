"""scripts/benchmark.py: one group of measurements, as a table and a benchmark.json."""

import importlib
import json
import platform
from pathlib import Path

import psutil
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from lightning_collab.config.benchmark import BenchmarkConfig
from lightning_collab.config.job import job_config
from lightning_collab.training.console import run_log
from lightning_collab.training.whole_file import write_whole


def benchmark_job(config: DictConfig) -> None:
    """Measure a group and print it.

    Args:
        config: of conf/benchmark.yaml.

    Raises:
        ConfigError: there is no such group, or a count is not positive.
    """
    settings = job_config(BenchmarkConfig, config)
    torch.set_num_threads(settings.threads)
    module = importlib.import_module(f"lightning_collab.benchmarks.{settings.group}")
    with run_log(None, quiet=True):
        measured: dict[str, float] = module.run(repeats=settings.repeats)
    table = Table(title=f"{settings.group}: medians of {settings.repeats} paired runs")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for name, value in measured.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)
    path = Path(HydraConfig.get().runtime.output_dir) / "benchmark.json"
    write_whole(path, json.dumps({**measured, "machine": _machine(settings.threads)}, indent=2))
    Console().print(f"written to {path}", highlight=False, soft_wrap=True)


def _machine(threads: int) -> dict[str, str | int]:
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": psutil.cpu_count() or 1,
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": threads,
    }


def _processor() -> str:
    """The processor's name, which platform.processor() leaves empty on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

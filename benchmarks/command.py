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

from benchmarks.config import BenchmarkConfig
from lightning_collab.config.section import job_config
from lightning_collab.runs.atomic_write import write_whole
from lightning_collab.training.console import run_log

Measured = dict[str, float | str]
"""By name, a number, or words where it could not be measured."""


def benchmark_job(config: DictConfig) -> None:
    """Measure a group and print it.

    Args:
        config: of benchmarks/conf/benchmark.yaml.

    Raises:
        ConfigError: there is no such group, or a count is not positive.
    """
    settings = job_config(BenchmarkConfig, config)
    torch.set_num_threads(settings.threads)
    module = importlib.import_module(f"benchmarks.{settings.group}")
    machine = _machine(settings.threads)
    own = getattr(settings, settings.group, None)
    with run_log(None, quiet=True):
        measured: Measured = module.run(
            repeats=settings.repeats, **({} if own is None else {"settings": own})
        )
    aims: dict[str, str] = getattr(module, "AIMS", {})
    table = Table(title=f"{settings.group}: medians of {settings.repeats} paired runs")
    table.add_column("measure", overflow="fold")
    table.add_column("value", justify="right")
    if aims:
        table.add_column("aim", justify="right")
    for name, value in measured.items():
        table.add_row(name, shown(value), *([aims.get(name, "")] if aims else []))
    Console().print(table)
    directory = Path(HydraConfig.get().runtime.output_dir)
    write_whole(directory / "benchmark.md", markdown(settings, measured, aims, machine))
    path = directory / "benchmark.json"
    write_whole(path, json.dumps({**measured, "machine": machine}, indent=2))
    Console().print(f"written to {path}", highlight=False, soft_wrap=True)


def markdown(
    settings: BenchmarkConfig,
    measured: Measured,
    aims: dict[str, str],
    machine: dict[str, str | int | float],
) -> str:
    """The table for a page of the documentation, with the command that makes it again.

    Args:
        settings: what was measured.
        measured: numbers, and words where there are none, by name.
        aims: what is to be reached, for those names that have such an aim.
        machine: what it ran on.
    """
    lines = [
        f"`scripts/benchmark.py group={settings.group} repeats={settings.repeats} "
        f"threads={settings.threads}` on {machine['processor']}, {machine['cores']} cores, "
        f"torch {machine['torch']}, load {machine['load']:g} when it began:",
        "",
        "| measure | value | aim |" if aims else "| measure | value |",
        "| --- | ---: | --- |" if aims else "| --- | ---: |",
    ]
    for name, value in measured.items():
        cells = [f"`{name}`", shown(value), *([aims.get(name, "")] if aims else [])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def shown(value: float | str) -> str:
    """A number with four digits, words as they are."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _machine(threads: int) -> dict[str, str | int | float]:
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": psutil.cpu_count() or 1,
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": threads,
        # Processes that wanted a core in the minute before; others than us disturb the clock.
        "load": round(psutil.getloadavg()[0], 2),
    }


def _processor() -> str:
    """The processor's name, which platform.processor() leaves empty on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

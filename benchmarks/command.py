"""scripts/benchmark.py: one group of measurements, as a table and a benchmark.json."""

import importlib
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import psutil
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from benchmarks.against import THIS, Checkout, compared, other_checkout, paired_speeds, speeds
from benchmarks.config import BenchmarkConfig
from lightning_collab.config.section import job_config
from lightning_collab.errors import ConfigError
from lightning_collab.runs.files import write_atomically
from lightning_collab.training.console import run_log

# By name, a number, or words where it could not be measured.
Measured = dict[str, float | str]

# What was measured, what is to be reached, and what else belongs into benchmark.json.
Outcome = tuple[Measured, dict[str, str], dict[str, Any]]


def benchmark_command(config: DictConfig) -> None:
    """Measure a group and print it.

    Args:
        config: of benchmarks/conf/benchmark.yaml.

    Raises:
        ConfigError: there is no such group, a count is not positive, or there is nothing to
            compare with.
    """
    settings = job_config(BenchmarkConfig, config)
    torch.set_num_threads(settings.threads)
    module = importlib.import_module(f"benchmarks.{settings.group}")
    machine = _machine(settings.threads)
    measure = _measured if settings.against is None else _compared
    with run_log(None, quiet=True):
        measured, aims, further = measure(settings, module)
    table = Table(title=f"{settings.group}: medians of {settings.repeats} paired runs")
    table.add_column("measure", overflow="fold")
    table.add_column("value", justify="right")
    if aims:
        table.add_column("aim", justify="right")
    for name, value in measured.items():
        table.add_row(name, shown(value), *([aims.get(name, "")] if aims else []))
    Console().print(table)
    directory = Path(HydraConfig.get().runtime.output_dir)
    write_atomically(
        directory / "benchmark.md",
        markdown(settings, measured, aims, machine, further, typed=_typed()),
    )
    path = directory / "benchmark.json"
    write_atomically(path, json.dumps({**measured, **further, "machine": machine}, indent=2))
    Console().print(f"written to {path}", highlight=False, soft_wrap=True)


def markdown(
    settings: BenchmarkConfig,
    measured: Measured,
    aims: dict[str, str],
    machine: dict[str, str | int | float],
    further: Mapping[str, Any] = MappingProxyType({}),
    typed: Sequence[str] = (),
) -> str:
    """The table for a page of the documentation, with the command that makes it again.

    Args:
        settings: what was measured.
        measured: numbers, and words where there are none, by name.
        aims: what is to be reached, for those names that have such an aim.
        machine: what it ran on.
        further: of a comparison, the commits.
        typed: of the command, what concerns the group alone.
    """
    words = [
        "scripts/benchmark.py",
        *(f"{key}={getattr(settings, key)}" for key in ("group", "repeats", "threads")),
        *typed,
    ]
    if settings.against is not None:
        # Where the other checkout lay is nobody's business; which commit it is of is.
        words.append(f"against=<{further['other']}>")
    # A group may have tables of its own, one a question.
    module = importlib.import_module(f"benchmarks.{settings.group}")
    if settings.against is None and hasattr(module, "tables"):
        rows = [module.tables(measured, shown)]
    else:
        rows = [
            "| measure | value | aim |" if aims else "| measure | value |",
            "| --- | ---: | --- |" if aims else "| --- | ---: |",
        ]
        for name, value in measured.items():
            cells = [f"`{name}`", shown(value), *([aims.get(name, "")] if aims else [])]
            rows.append("| " + " | ".join(cells) + " |")
    lines = [
        f"`{' '.join(words)}` on {machine['processor']}, "
        f"{machine['cores']} cores, torch {machine['torch']}, load {machine['load']:g} "
        "when it began:",
        "",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def _measured(settings: BenchmarkConfig, module: ModuleType) -> Outcome:
    """The group by itself."""
    own = getattr(settings, settings.group, None)
    measured = module.run(repeats=settings.repeats, **({} if own is None else {"settings": own}))
    return measured, getattr(module, "AIMS", {}), {}


def _compared(settings: BenchmarkConfig, module: ModuleType) -> Outcome:
    """The speeds of the group in this checkout over those in another one."""
    group, threads = settings.group, settings.threads
    if not hasattr(module, "CONTROLS"):
        raise ConfigError(
            f"against: group={group} has no speeds that two checkouts share; "
            "group=engines, scale, ranks and inference have"
        )
    assert settings.against is not None
    other = other_checkout(settings.against)

    def once(checkout: Checkout) -> dict[str, float]:
        return speeds(checkout.measure(group, threads, _typed()))

    pairs = paired_speeds(lambda: once(THIS), lambda: once(other), settings.repeats)
    measured, aims = compared(group, pairs, module.CONTROLS)
    commits = {"this": THIS.commit(), "other": other.commit()}
    kept = [dict(zip(commits, pair, strict=True)) for pair in pairs]
    return measured, aims, {**commits, "pairs": kept}


def _typed() -> list[str]:
    """What was typed of the group itself, such as its sizes."""
    own = ("group=", "repeats=", "threads=", "against=", "hydra.")
    return [each for each in HydraConfig.get().overrides.task if not each.startswith(own)]


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

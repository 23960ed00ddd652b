"""Runs in processes of their own, which a test kills at a moment of its choice."""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from support import composed

from lightning_collab.config import validated
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training.run import train
from lightning_collab.training.trainer import SpacedCheckpoint

# Forked from a server that has imported everything heavy: half a second a run in place of six.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["lightning_collab.commands.train"])

Moment = Callable[[RunDirectory], bool]
"""Asked again and again while a run goes on: whether to kill it now."""


def _train(overrides: tuple[str, ...], path: Path, resume: bool) -> None:
    run = RunDirectory(path)
    SpacedCheckpoint.SECONDS = 0.0  # these runs are over before the first would come
    path.mkdir(parents=True, exist_ok=True)
    config = run.read_config() if resume else validated(composed(*overrides))
    train(config, run, resume=resume)


def run_to_the_end(overrides: tuple[str, ...], path: Path, *, resume: bool = False) -> RunDirectory:
    """Train, and fail where the run fails."""
    process = CONTEXT.Process(target=_train, args=(overrides, path, resume))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    return RunDirectory(path)


def run_and_kill(
    overrides: tuple[str, ...], path: Path, moment: Moment, *, resume: bool = False
) -> bool:
    """Train until the moment comes, then kill -9. False: the run ended before it came."""
    process = CONTEXT.Process(target=_train, args=(overrides, path, resume))
    process.start()
    run = RunDirectory(path)
    try:
        while process.exitcode is None:
            if moment(run):
                process.kill()
                process.join()
                return process.exitcode == -9
        assert process.exitcode == 0
        return False
    finally:
        process.kill()


def after(seconds: float) -> Moment:
    """So long after the run has begun to write."""
    began: list[float] = []

    def moment(run: RunDirectory) -> bool:
        if not began and run.config_file.exists():
            began.append(time.monotonic())
        time.sleep(0.0005)
        return bool(began) and time.monotonic() - began[0] >= seconds

    return moment


def while_writing(name: str, times: int) -> Moment:
    """In the middle of writing a checkpoint for the so manieth time."""
    seen: set[str] = set()

    def moment(run: RunDirectory) -> bool:
        try:
            there = {path.name for path in run.checkpoints.glob(f".{name}-*")}
        except OSError:
            return False
        seen.update(there)
        return bool(there) and len(seen) >= times

    return moment


def when_written(name: str, times: int) -> Moment:
    """As soon as a file has been written for the so manieth time."""
    seen: set[int] = set()

    def moment(run: RunDirectory) -> bool:
        try:
            seen.add((run.path / name).stat().st_mtime_ns)
        except OSError:
            return False
        return len(seen) >= times

    return moment


def differences(one: Any, two: Any, place: str = "") -> list[str]:
    """Where two checkpoints are not the same to the bit; paths and clocks may differ."""
    if isinstance(one, torch.Tensor):
        same = torch.equal(one, two) and one.dtype == two.dtype
        return [] if same else [place]
    if isinstance(one, dict):
        one, two = _by_file_name(one), _by_file_name(two)
        if set(one) != set(two):
            return [f"{place}: {sorted(map(str, set(one) ^ set(two)))}"]
        # A clock too: how long the training took.
        keys = [key for key in one if key != "fit_seconds"]
        return [d for key in keys for d in differences(one[key], two[key], f"{place}/{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(two):
            return [place]
        pairs = enumerate(zip(one, two, strict=True))
        return [d for n, pair in pairs for d in differences(*pair, f"{place}/{n}")]
    return [] if one == two or isinstance(one, str) else [f"{place}: {one} and {two}"]


def _by_file_name(content: dict[Any, Any]) -> dict[Any, Any]:
    """With paths among the keys as they are in any run directory."""
    return {
        Path(key).name if isinstance(key, str) and key.startswith("/") else key: value
        for key, value in content.items()
    }

"""The speeds of this checkout and of another one, measured side by side.

Each measurement is a checkout's own `scripts/benchmark.py` in a fresh process that imports the
checkout's own `src`. So both may be laid out as they like: what they share is the command, and the
names in benchmark.json.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import ROOT
from lightning_collab.errors import ConfigError

Measured = dict[str, float | str]
Speeds = dict[str, float]
ROW_AIM, MEAN_AIM = "at least 0.93", "at least 1"


class Checkout(NamedTuple):
    """A working copy of this repository.

    Attributes:
        path: of its root.
    """

    path: Path

    def environment(self) -> dict[str, str]:
        """Variables with which a fresh process imports this checkout's package."""
        return {**os.environ, "PYTHONPATH": str(self.path / "src")}

    def check(self) -> None:
        """Refuse what is no checkout, before anything is measured.

        Raises:
            ConfigError: it has no benchmarks, or another package would be measured.
        """
        for needed in ("scripts/benchmark.py", "src/lightning_collab/__init__.py"):
            if not (self.path / needed).is_file():
                raise ConfigError(
                    f"against: {self.path} is no checkout of lightning-collab, {needed} is not "
                    "there; `git worktree add <folder> <commit>` makes one"
                )
        program = "import lightning_collab; print(lightning_collab.__file__)"
        done = self._python("-c", program)
        found = Path(done.stdout.strip()) if done.returncode == 0 else None
        if found is None or not found.resolve().is_relative_to(self.path / "src"):
            raise ConfigError(
                f"against: a process with PYTHONPATH={self.path / 'src'} imports "
                f"{found or _last_line(done.stderr)}, so that checkout cannot be measured"
            )

    def commit(self) -> str:
        """What git calls it; where it is not under git, its folder's name."""
        command = ["git", "-C", str(self.path), "describe", "--always", "--dirty"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return self.path.name
        return done.stdout.strip()

    def measure(self, group: str, threads: int, further: Sequence[str] = ()) -> Measured:
        """The group, measured once by this checkout in a process of its own.

        Args:
            group: of measurements.
            threads: of torch.
            further: what else was typed, such as sizes of the group.

        Raises:
            ConfigError: the checkout cannot; the message is the last line of its own.
        """
        with tempfile.TemporaryDirectory() as folder:
            done = self._python(
                str(self.path / "scripts" / "benchmark.py"),
                f"group={group}",
                "repeats=1",
                f"threads={threads}",
                *further,
                f"hydra.run.dir={folder}",
            )
            if done.returncode != 0:
                raise ConfigError(
                    f"against: group={group} fails in {self.path}: {_last_line(done.stderr)}"
                )
            measured: Measured = json.loads((Path(folder) / "benchmark.json").read_text())
        return measured

    def _python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=self.environment(), capture_output=True, text=True)


THIS = Checkout(ROOT)


def other_checkout(path: str) -> Checkout:
    """A checkout that can be measured.

    Args:
        path: as typed.

    Raises:
        ConfigError: there is none.
    """
    other = Checkout(Path(path).expanduser().resolve())
    other.check()
    THIS.check()
    return other


def speeds(measured: Mapping[str, float | str]) -> Speeds:
    """What can be compared between checkouts: of what a group measures, all that is a speed.

    Args:
        measured: by the group's `run`, here or in another checkout.

    Returns:
        By row, how often or how many in a second.
    """
    result = {}
    for name, value in measured.items():
        if not isinstance(value, float | int) or "_over_" in name or "bytes" in name:
            continue  # it could not be measured there, or is a ratio, or of the machine
        for unit in ("_milliseconds", "/milliseconds", "_seconds", "/seconds", "_ns"):
            if name.endswith(unit):
                result[name.removesuffix(unit)] = 1 / value
                break
        else:
            if "per_second" in name:
                result[name] = value
    return result


def paired_speeds(
    this: Callable[[], Speeds], other: Callable[[], Speeds], repeats: int
) -> list[tuple[Speeds, Speeds]]:
    """Both measured in turn, after a run of each that only compiles what there is to compile.

    Args:
        this: measures this checkout once.
        other: measures the other; its unmeasured run comes first, since it may fail.
        repeats: pairs. Who begins alternates, so that no drift of the machine favors one.

    Returns:
        Of each pair, speeds by row: of this checkout, of the other.
    """
    other()
    this()
    pairs = []
    for number in range(repeats):
        if number % 2 == 0:
            mine, theirs = this(), other()
        else:
            theirs, mine = other(), this()
        pairs.append((mine, theirs))
    return pairs


def compared(
    group: str, pairs: list[tuple[Speeds, Speeds]], controls: Collection[str] = ()
) -> tuple[Measured, dict[str, str]]:
    """How fast this checkout is, the other one being 1.

    Args:
        group: of measurements.
        pairs: of `paired_speeds`.
        controls: rows that run nothing of the package. They are shown, since they say how far
            ratios are only noise, and are part of neither the mean nor the aims.

    Returns:
        `<row>/this_over_other`: medians over pairs, or who alone has the row; the geometric mean of
        the rows that both have, `<group>/geometric_mean/this_over_other`, and the lowest; and what
        is to be reached, by name.
    """
    mine, theirs = pairs[0]
    result: Measured = {}
    ratios: dict[str, float] = {}
    for row in (*mine, *(row for row in theirs if row not in mine)):
        name = f"{row}/this_over_other"
        if row not in mine or row not in theirs:
            result[name] = f"only {'this' if row in mine else 'the other'} checkout has it"
            continue
        result[name] = ratio = statistics.median(one[row] / two[row] for one, two in pairs)
        if row not in controls:
            ratios[name] = ratio
    if not ratios:
        raise ConfigError(f"against: the two checkouts have no row of group={group} in common")
    mean = f"{group}/geometric_mean/this_over_other"
    result[mean] = math.exp(statistics.fmean(map(math.log, ratios.values())))
    result[f"{group}/lowest/this_over_other"] = min(ratios.values())
    return result, {**dict.fromkeys(ratios, ROW_AIM), mean: MEAN_AIM}


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it failed without a word"])[-1]

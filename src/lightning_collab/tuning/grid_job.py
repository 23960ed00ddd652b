"""One job of a grid, what is kept of it, and all jobs in one table."""

import hashlib
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lightning_collab.errors import LightningCollabError
from lightning_collab.runs.files import write_atomically
from lightning_collab.runs.invocation import quoted
from lightning_collab.tuning.processes import OUTPUT_FILE, error_tail, run_subprocess
from lightning_collab.tuning.settings import GridSettings
from lightning_collab.tuning.sweep import register_resolvers
from lightning_collab.tuning.trials import as_csv

JOB_FILE = "job.json"
STOP_FILE = ".stopped"
METRICS_FILE = "metrics.json"

Status = Literal["running", "done", "failed"]


@dataclass(frozen=True)
class GridJob:
    """One combination of a grid.

    Attributes:
        directory: of the job, in the sweep's.
        overrides: as typed.
        fingerprint: of its whole config.
    """

    directory: Path
    overrides: tuple[str, ...]
    fingerprint: str

    def kept(self) -> dict[str, Any]:
        """What the job's directory says: `status`, `error`, `seconds`; empty before it has run."""
        return read_json(self.directory / JOB_FILE)

    def metrics(self) -> dict[str, Any]:
        """The numbers of the run; empty of one that is not done."""
        done = self.kept().get("status") == "done"
        return read_json(self.directory / METRICS_FILE) if done else {}

    def is_done(self) -> bool:
        """Whether there is a whole result of this very config."""
        kept = self.kept()
        return kept.get("status") == "done" and kept.get("config") == self.fingerprint

    def keep(self, status: Status, **further: Any) -> None:
        """Write what is known of the job into its directory."""
        content = {"status": status, "overrides": self.overrides, "config": self.fingerprint}
        _write_json(self.directory / JOB_FILE, content | further)


def read_json(path: Path) -> dict[str, Any]:
    """What is in a file; empty where there is none that is whole."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def fingerprint(config: Mapping[str, Any]) -> str:
    """A short name for a config, the same for the same values.

    Args:
        config: plain and resolved.
    """
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class GridTask:
    """The task function of a grid's jobs: runs the command's and keeps how it ended.

    Attributes:
        task: the command's task function.
        command: the words that run it in a process of its own.
        sweep_dir: of the sweep.
        jobs: by subdirectory.
        fail_fast: whether a failed job keeps those that have not begun from beginning.
    """

    task: Callable[[DictConfig], Any]
    command: Sequence[str]
    sweep_dir: Path
    jobs: Mapping[str, GridJob]
    fail_fast: bool

    def __call__(self, config: DictConfig) -> Any:
        """Run one job; an error of it is kept, not raised, so that others continue."""
        register_resolvers()
        job = self.jobs[Path(HydraConfig.get().runtime.output_dir).name]
        if self.fail_fast and (self.sweep_dir / STOP_FILE).exists():
            return None
        job.keep("running")
        started = time.perf_counter()
        result, failure = None, dict[str, str]()
        try:
            if _has_ranks(config):
                _run_apart(self.command, job)
            else:
                result = self.task(config)
        except LightningCollabError as error:
            failure = {"error": str(error)}
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            failure = {"error": text, "traceback": traceback.format_exc()}
        seconds = round(time.perf_counter() - started, 3)
        job.keep("failed" if failure else "done", seconds=seconds, **failure)
        if failure and self.fail_fast:
            (self.sweep_dir / STOP_FILE).touch()
        return result


class JobProcessError(LightningCollabError):
    """A job in processes of its own failed."""


def _has_ranks(config: DictConfig) -> bool:
    """Whether Lightning will start the command again for further ranks."""
    trainer = config.get("trainer") or {}
    return trainer.get("strategy", "auto") != "auto" or trainer.get("devices", 1) not in (1, "auto")


def _run_apart(command: Sequence[str], job: GridJob) -> None:
    """Run the command once more, not as a multirun, with all its ranks in this job's directory."""
    typed = [each for each in job.overrides if not each.lstrip("+").startswith("sweep=")]
    words = [*command, *typed, f"hydra.run.dir={quoted(str(job.directory))}"]
    output = job.directory / OUTPUT_FILE
    code, stopped = run_subprocess(words, {}, output)
    if stopped:
        raise KeyboardInterrupt
    if code != 0:
        raise JobProcessError(f"{error_tail(output, code)} (see {output})")


CSV_FILE = "sweep.csv"
JSON_FILE = "sweep.json"
# Not those of the test part: who chooses from a table by them tunes on the test part.
SHOWN_METRICS = ("val/rmse", "val/mae", "val/ndcg@10", "fit_seconds")


class Summary(NamedTuple):
    """What came out of a grid.

    Attributes:
        swept: keys that differ between jobs.
        shown_metrics: of the metrics that jobs have, those shown to the user.
        rows: one a job, the best first; then failed and not run ones.
    """

    swept: list[str]
    shown_metrics: list[str]
    rows: list[dict[str, Any]]


def summarise(sweep_dir: Path, jobs: Sequence[GridJob], settings: GridSettings) -> Summary:
    """Rewrite sweep.csv and sweep.json from what is in the jobs' directories.

    Args:
        sweep_dir: of the sweep.
        jobs: all of the grid.
        settings: the objective and its direction, neither left open.
    """
    typed = [dict(each.lstrip("+").partition("=")[::2] for each in job.overrides) for job in jobs]
    keys = dict.fromkeys(chain(*typed))
    swept = [key for key in keys if len({values.get(key) for values in typed}) > 1]
    rows = [
        _row(job, {key: values.get(key) for key in swept})
        for job, values in zip(jobs, typed, strict=True)
    ]
    found = [job.metrics() for job in jobs]
    metrics = dict.fromkeys(chain(*found))
    for row, values in zip(rows, found, strict=True):
        row.update({key: values.get(key) for key in metrics})
    rows.sort(key=lambda row: _rank(row, settings))
    write_atomically(sweep_dir / CSV_FILE, as_csv(rows))
    about = {"objective": settings.objective, "direction": settings.direction}
    _write_json(sweep_dir / JSON_FILE, about | {"jobs": rows})
    shown = [
        key for key in dict.fromkeys((str(settings.objective), *SHOWN_METRICS)) if key in metrics
    ]
    return Summary(swept, shown, rows)


def _row(job: GridJob, swept: dict[str, Any]) -> dict[str, Any]:
    kept = job.kept()
    status = kept.get("status", "not run")
    return {
        "directory": job.directory.name,
        "status": "interrupted" if status == "running" else status,
        **swept,
        "overrides": " ".join(job.overrides),
        "seconds": kept.get("seconds"),
        "error": kept.get("error"),
    }


def _rank(row: dict[str, Any], settings: GridSettings) -> tuple[int, float]:
    value = row.get(str(settings.objective))
    if row["status"] != "done" or not isinstance(value, int | float):
        return (1, 0.0)
    return (0, -value if settings.direction == "maximize" else value)

"""One job of a grid, what is kept of it, and all jobs in one table."""

import hashlib
import json
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lightning_collab.errors import LightningCollabError
from lightning_collab.runs.atomic_write import write_atomically
from lightning_collab.runs.invocation import quoted
from lightning_collab.tuning.settings import GridSettings
from lightning_collab.tuning.subprocess_run import OUTPUT_FILE, error_tail, run_subprocess
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
        subdirectory: of the sweep's directory.
        overrides: as typed.
        fingerprint: of its whole config.
    """

    subdirectory: str
    overrides: tuple[str, ...]
    fingerprint: str

    @staticmethod
    def all_in(sweep_dir: Path) -> list["GridJob"]:
        """The jobs of earlier starts in a sweep's directory."""
        jobs = []
        for path in sorted(sweep_dir.glob(f"*/{JOB_FILE}")):
            kept = _read(path)
            jobs.append(
                GridJob(path.parent.name, tuple(kept.get("overrides", ())), kept.get("config", ""))
            )
        return jobs

    def kept(self, sweep_dir: Path) -> dict[str, Any]:
        """What the job's directory says: `status`, `error`, `seconds`; empty before it has run."""
        return _read(sweep_dir / self.subdirectory / JOB_FILE)

    def metrics(self, sweep_dir: Path) -> dict[str, Any]:
        """The numbers of the run; empty where there are none."""
        return _read(sweep_dir / self.subdirectory / METRICS_FILE)

    def is_done(self, sweep_dir: Path) -> bool:
        """Whether there is a whole result of this very config."""
        kept = self.kept(sweep_dir)
        return kept.get("status") == "done" and kept.get("config") == self.fingerprint

    def clear(self, sweep_dir: Path) -> None:
        """Remove what a start that was not whole left of this job."""
        directory = sweep_dir / self.subdirectory
        if (directory / JOB_FILE).is_file() and not self.is_done(sweep_dir):
            shutil.rmtree(directory)

    def keep(self, sweep_dir: Path, status: Status, **further: Any) -> None:
        """Write what is known of the job into its directory."""
        content = {
            "status": status,
            "overrides": list(self.overrides),
            "config": self.fingerprint,
            **further,
        }
        write_atomically(
            sweep_dir / self.subdirectory / JOB_FILE, json.dumps(content, indent=2) + "\n"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


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
        """Run one job; an error of it is kept, not raised, so that others go on."""
        register_resolvers()
        directory = Path(HydraConfig.get().runtime.output_dir)
        job = self.jobs[directory.name]
        if self.fail_fast and (self.sweep_dir / STOP_FILE).exists():
            return None
        job.keep(self.sweep_dir, "running")
        started = time.perf_counter()
        try:
            if _has_ranks(config):
                _run_apart(self.command, job, directory)
                result = None
            else:
                result = self.task(config)
        except LightningCollabError as error:
            self._failed(job, started, str(error))
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self._failed(job, started, text, traceback=traceback.format_exc())
        else:
            job.keep(self.sweep_dir, "done", seconds=round(time.perf_counter() - started, 3))
            return result
        return None

    def _failed(self, job: GridJob, started: float, error: str, **further: Any) -> None:
        seconds = round(time.perf_counter() - started, 3)
        job.keep(self.sweep_dir, "failed", seconds=seconds, error=error, **further)
        if self.fail_fast:
            (self.sweep_dir / STOP_FILE).touch()


class JobProcessError(LightningCollabError):
    """A job in processes of its own failed."""


def _has_ranks(config: DictConfig) -> bool:
    """Whether Lightning will start the command again for further ranks."""
    trainer = config.get("trainer") or {}
    return trainer.get("strategy", "auto") != "auto" or trainer.get("devices", 1) not in (1, "auto")


def _run_apart(command: Sequence[str], job: GridJob, directory: Path) -> None:
    """Run the command once more, not as a multirun, with all its ranks in this job's directory."""
    typed = [each for each in job.overrides if not each.lstrip("+").startswith("sweep=")]
    words = [*command, *typed, f"hydra.run.dir={quoted(str(directory))}"]
    code, stopped = run_subprocess(words, {}, directory / OUTPUT_FILE)
    if stopped:
        raise KeyboardInterrupt
    if code != 0:
        reason = error_tail(directory / OUTPUT_FILE, code)
        raise JobProcessError(f"{reason} (see {directory / OUTPUT_FILE})")


CSV_FILE = "sweep.csv"
JSON_FILE = "sweep.json"
# Not those of the test part: who chooses from a table by them tunes on the test part.
SHOWN_METRICS = ("val/rmse", "val/mae", "fit_seconds")


@dataclass(frozen=True)
class Summary:
    """What came out of a grid.

    Attributes:
        objective: the metric that the rows are sorted by.
        swept: keys that differ between jobs.
        shown_metrics: of the metrics that jobs have, those for a person.
        rows: one a job, the best first; then failed and not run ones.
    """

    objective: str
    swept: list[str]
    shown_metrics: list[str]
    rows: list[dict[str, Any]]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Rows of jobs that failed."""
        return [row for row in self.rows if row["status"] == "failed"]

    @property
    def not_run(self) -> list[dict[str, Any]]:
        """Rows of jobs that did not run to an end, for another reason than an error of theirs."""
        return [row for row in self.rows if row["status"] not in ("done", "failed")]


def summarise(sweep_dir: Path, jobs: Sequence[GridJob], settings: GridSettings) -> Summary:
    """Write sweep.csv and sweep.json anew from what is in the jobs' directories.

    Args:
        sweep_dir: of the sweep.
        jobs: all of the grid.
        settings: the objective and its direction.
    """
    typed = [dict(each.lstrip("+").partition("=")[::2] for each in job.overrides) for job in jobs]
    keys = list(dict.fromkeys(key for values in typed for key in values))
    swept = [key for key in keys if len({values.get(key) for values in typed}) > 1]
    rows = [
        _row(sweep_dir, job, {key: values.get(key) for key in swept})
        for job, values in zip(jobs, typed, strict=True)
    ]
    metrics = list(dict.fromkeys(key for row in rows for key in row["metrics"]))
    flat = [
        {
            **{key: value for key, value in row.items() if key != "metrics"},
            **{key: row["metrics"].get(key) for key in metrics},
        }
        for row in rows
    ]
    flat.sort(key=lambda row: _rank(row, settings))
    write_atomically(sweep_dir / CSV_FILE, as_csv(flat))
    write_atomically(
        sweep_dir / JSON_FILE,
        json.dumps(
            {"objective": settings.objective, "direction": settings.direction, "jobs": flat},
            indent=2,
        )
        + "\n",
    )
    shown = [key for key in dict.fromkeys((settings.objective, *SHOWN_METRICS)) if key in metrics]
    return Summary(settings.objective, swept, shown, flat)


def _row(sweep_dir: Path, job: GridJob, swept: dict[str, Any]) -> dict[str, Any]:
    kept = job.kept(sweep_dir)
    status = kept.get("status", "not run")
    return {
        "directory": job.subdirectory,
        "status": "interrupted" if status == "running" else status,
        **swept,
        "overrides": " ".join(job.overrides),
        "seconds": kept.get("seconds"),
        "error": kept.get("error"),
        "metrics": job.metrics(sweep_dir) if status == "done" else {},
    }


def _rank(row: dict[str, Any], settings: GridSettings) -> tuple[int, float]:
    value = row.get(settings.objective)
    if row["status"] != "done" or not isinstance(value, int | float):
        return (1, 0.0)
    return (0, -value if settings.direction == "maximize" else value)

"""All jobs of a grid in one table: sweep.csv and sweep.json."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_collab.training.whole_file import write_whole
from lightning_collab.tuning.grid_job import GridJob
from lightning_collab.tuning.settings import GridSettings
from lightning_collab.tuning.trials_table import as_csv

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
    write_whole(sweep_dir / CSV_FILE, as_csv(flat))
    write_whole(
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

"""The command report: the page of a run, of several side by side, or of a study."""

import os
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from lightning_collab.config.commands import ReportConfig
from lightning_collab.config.section import job_config
from lightning_collab.errors import InspectionError
from lightning_collab.inference.trained_run import load
from lightning_collab.inspection.comparison import compare
from lightning_collab.inspection.predictions import reload_data
from lightning_collab.inspection.run_report import write_run_report
from lightning_collab.runs.atomic_write import write_atomically
from lightning_collab.training.console import run_log

COMPARISON = Path("comparison.html")


def report_command(config: DictConfig) -> Path:
    """Write the page that the config asks for, and say where it is.

    Args:
        config: of conf/report.yaml.

    Returns:
        The file.

    Raises:
        ConfigError: neither runs nor a sweep are named, or both.
        CheckpointError: a run directory without a checkpoint, or none at all.
        InspectionError: the file cannot be written.
    """
    asked = job_config(ReportConfig, config)
    output = Path(asked.output) if asked.output else None
    console = Console()
    with run_log(None, quiet=True), console.status("drawing"):
        if asked.sweep is not None:
            path = _study(Path(asked.sweep), output)
        elif len(asked.runs) == 1:
            run = load(asked.runs[0])
            path = write_run_report(run, reload_data(run.directory), asked.map, output)
        else:
            path = output or COMPARISON
            page = compare([load(run) for run in asked.runs])
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, page)
            except OSError as error:
                raise InspectionError(f"cannot write the report {path}: {error}") from error
    console.print(f"report  {os.path.relpath(path)}", highlight=False, soft_wrap=True, markup=False)
    return path


def _study(sweep: Path, output: Path | None) -> Path:
    """The page of a study, which tuning knows how to make."""
    from lightning_collab.tuning.report import write_study_report

    if output is not None:
        raise InspectionError("the page of a study stays in its directory; leave output out")
    return write_study_report(sweep)

"""The command report: the page of a run, of several side by side, or of a study."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from lightning_collab.api.trained_run import load
from lightning_collab.config.commands import ReportConfig
from lightning_collab.config.section import job_config
from lightning_collab.errors import InspectionError
from lightning_collab.inspection.comparison import compare
from lightning_collab.inspection.pages import write_report
from lightning_collab.inspection.predictions import reload_data
from lightning_collab.inspection.run_report import write_run_report
from lightning_collab.training.console import run_log, say_file

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
    with run_log(None, quiet=True), Console().status("drawing"):
        if asked.sweep is not None:
            path = _study(Path(asked.sweep), output)
        elif len(asked.runs) == 1:
            run = load(asked.runs[0])
            path = write_run_report(run, reload_data(run.directory), asked.map, output)
        else:
            page = compare([load(run) for run in asked.runs])
            path = write_report(page, output or COMPARISON)
    say_file("report", path)
    return path


def _study(sweep: Path, output: Path | None) -> Path:
    """The page of a study, which tuning knows how to make."""
    from lightning_collab.tuning.report import write_study_report

    if output is not None:
        raise InspectionError("a study's page stays in its directory; omit output")
    return write_study_report(sweep)

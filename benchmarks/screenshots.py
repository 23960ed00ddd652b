"""scripts/screenshots.py: the pictures of the documentation, from a real run."""

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from benchmarks.browser import PROJECTOR, headless_browser, open_projector, serving_tensorboard
from benchmarks.config import ScreenshotsConfig
from lightning_collab.config.section import job_config
from lightning_collab.errors import InspectionError
from lightning_collab.runs.directory import RunDirectory

# For the frames that follow a click: the camera moves, labels are placed.
SETTLE_SECONDS = 3.0


def screenshots_command(config: DictConfig) -> list[Path]:
    """Photograph the projector and the report of a run.

    Args:
        config: of benchmarks/conf/screenshots.yaml.

    Returns:
        The pictures: projector.png and report.png.

    Raises:
        InspectionError: no browser, or the run has no projector or no report.
    """
    asked = job_config(ScreenshotsConfig, config)
    run = RunDirectory(Path(asked.run))
    for needed in (run.report_file, run.tensorboard / "projector_config.pbtxt"):
        if not needed.is_file():
            raise InspectionError(f"{needed}: there is none; train with the default callbacks")
    folder = Path(asked.output)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [folder / "projector.png", folder / "report.png"]
    with serving_tensorboard(run.path) as address, headless_browser(1400, 1000) as browser:
        open_projector(browser, address)
        _settle(browser, "p.bookmarkPanel.loadSavedState(0)")
        browser.save_screenshot(str(pictures[0]))
    with headless_browser(1200, 1500) as browser:
        browser.get(run.report_file.resolve().as_uri())
        time.sleep(1.0)
        browser.save_screenshot(str(pictures[1]))
    for picture in pictures:
        Console().print(str(picture), highlight=False, soft_wrap=True, markup=False)
    return pictures


def _settle(browser: Any, script: str) -> None:
    browser.execute_script(PROJECTOR + script)
    time.sleep(SETTLE_SECONDS)

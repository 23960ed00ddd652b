"""A headless browser and a TensorBoard for it to look at; for screenshots and for tests."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning_collab.errors import InspectionError

# The projector draws with WebGL, which SwiftShader does without a GPU.
FLAGS = (
    "--headless=new",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--no-first-run",
)
PATIENCE_SECONDS = 90
# In a script inside the projector's frame: the element that does the work, as `p`.
PROJECTOR = (
    "const p = document.querySelector('vz-projector-dashboard')?.shadowRoot"
    ".querySelector('vz-projector'); "
)


@contextmanager
def headless_browser(width: int = 1400, height: int = 1000) -> Iterator[Any]:
    """A Chromium that one can drive; it is closed at the end.

    Args:
        width: of the window, in pixels.
        height: of the window, in pixels.

    Raises:
        InspectionError: there is no browser, or no selenium to drive it.
    """
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError as error:
        raise InspectionError("selenium is not installed: pip install selenium") from error
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise InspectionError(
            "no chromium and chromedriver here: apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # Chromium's sandbox does not work for root, who runs what is in a container.
    root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    for flag in (*FLAGS, *root, f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


@contextmanager
def serving_tensorboard(logdir: Path) -> Iterator[str]:
    """The address of a TensorBoard on a free port of localhost; it is stopped at the end.

    Args:
        logdir: what it serves.

    Raises:
        InspectionError: it does not start.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir)]
    command += ["--host", "localhost", "--port", str(port)]
    address = f"http://localhost:{port}"
    with tempfile.TemporaryFile() as said:
        server = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            _wait_for(address, server)
            if server.poll() is not None:
                said.seek(0)
                raise InspectionError(f"TensorBoard did not start:\n{said.read().decode()}")
            yield address
        finally:
            server.terminate()
            server.wait(timeout=20)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and server.poll() is None:
        # OSError: nobody listens yet.
        with suppress(OSError), urllib.request.urlopen(address):  # noqa: S310 (our own address)
            return
        time.sleep(0.3)


def open_projector(browser: Any, address: str) -> None:
    """Go to TensorBoard's projector and wait until the points of its first tag are projected.

    Args:
        browser: from `headless_browser`; it is inside the projector's frame afterwards.
        address: of the TensorBoard.

    Raises:
        InspectionError: no points are loaded.
    """
    browser.get(f"{address}/#projector")

    def loaded() -> bool:
        browser.switch_to.default_content()
        for _ in range(2):  # the page is a frame in a frame
            frames = browser.find_elements("tag name", "iframe")
            if not frames:
                return False
            browser.switch_to.frame(frames[0])
        ready = "return !!(p?.dataSet?.points?.length && p.projection)"
        return bool(browser.execute_script(PROJECTOR + ready))

    if not patiently(loaded):
        raise InspectionError(f"the projector of {address} shows no points")


def patiently(condition: Callable[[], Any]) -> bool:
    """Whether something comes true within `PATIENCE_SECONDS`.

    Args:
        condition: asked again and again.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.3)
    return False

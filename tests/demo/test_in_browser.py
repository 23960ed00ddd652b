"""The command in a process of its own, and its page in a real browser."""

import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest
from film_runs import NASTY
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from support import REPOSITORY

from benchmarks.browser import patiently

pytestmark = pytest.mark.slow
pytest.importorskip("streamlit", reason="needs lightning-collab[demo]")


@pytest.fixture
def served(film_run, tmp_path):
    """The command, once it says where its page is; the port; and what it says."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # Settings of the folder where it is started are none of ours.
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit/config.toml").write_text('[server]\naddress = "0.0.0.0"\n')
    said = tmp_path / "said.txt"
    with said.open("wb") as file:
        command = subprocess.Popen(
            [
                *(sys.executable, str(REPOSITORY / "scripts/demo.py")),
                *(f"run={film_run.directory.path}", f"port={port}"),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
            stdout=file,
            stderr=file,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            ready = f"open http://localhost:{port} "
            assert patiently(lambda: command.poll() is not None or ready in said.read_text())
            assert ready in said.read_text(), said.read_text()
            yield command, port, said
        finally:
            command.terminate()
            command.wait(20)


def shown(browser):
    return [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "tbody td:first-child")]


def rate(browser, place, stars):
    widget = browser.find_elements(By.CSS_SELECTOR, "[data-testid=stFeedback]")[place]
    star = widget.find_elements(By.TAG_NAME, "button")[stars - 1]
    browser.execute_script("arguments[0].click()", star)


def search(browser, title):
    box = browser.find_element(By.CSS_SELECTOR, "[data-testid=stSelectbox] input")
    box.send_keys(title)
    assert patiently(lambda: len(browser.find_elements(By.CSS_SELECTOR, "[role=option]")) == 1)
    box.send_keys(Keys.ENTER)


def test_two_ratings_bring_recommendations_and_ctrl_c_ends_it(browser, served):
    command, port, said = served
    browser.get(f"http://localhost:{port}")
    widgets = "[data-testid=stFeedback]"
    assert patiently(lambda: len(browser.find_elements(By.CSS_SELECTOR, widgets)) == 8)
    rate(browser, 0, 5)
    assert patiently(lambda: len(shown(browser)) >= 10)
    first = shown(browser)
    rate(browser, 1, 1)
    assert patiently(lambda: shown(browser) != first)
    search(browser, NASTY[:20])
    assert patiently(lambda: NASTY in browser.find_element(By.TAG_NAME, "body").text)
    assert "broken" not in browser.title
    browser.find_elements(By.CSS_SELECTOR, "[role=tab]")[1].click()
    picture = "[data-testid=stImage] img"
    assert patiently(lambda: browser.find_element(By.CSS_SELECTOR, picture).is_displayed())
    assert not browser.find_elements(By.CSS_SELECTOR, "[data-testid=stAppDeployButton]")
    # The browser asks nobody else for anything.
    asked = browser.execute_script("return performance.getEntries().map(each => each.name)")
    asked = [each for each in asked if each.startswith("http")]
    assert asked
    assert all(each.startswith(f"http://localhost:{port}/") for each in asked), asked

    processes = [psutil.Process(command.pid), *psutil.Process(command.pid).children(recursive=True)]
    listening = {
        link.laddr
        for process in processes
        for link in process.net_connections()
        if link.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", port)}

    command.send_signal(signal.SIGINT)
    assert command.wait(20) == 0
    assert "Traceback" not in said.read_text()
    assert said.read_text().splitlines()[-1] == "stopped"
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive

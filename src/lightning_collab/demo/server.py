"""The server of the page: Streamlit in a process of its own, on this machine alone."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lightning_collab.api.trained_run import TrainedRun
from lightning_collab.errors import ConfigError, InspectionError

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("page.py")
# As variables, which win over somebody's config files and are no error where one is not known.
SETTINGS = {
    "BROWSER_GATHER_USAGE_STATS": "false",
    "BROWSER_SERVER_ADDRESS": "localhost",
    "CLIENT_TOOLBAR_MODE": "minimal",
    "GLOBAL_DEVELOPMENT_MODE": "false",
    "LOGGER_LEVEL": "warning",
    "RUNNER_MAGIC_ENABLED": "false",
    "SERVER_ADDRESS": HOST,
    # Of pages of others that give this machine a name of theirs.
    "SERVER_ALLOWED_HOSTS": "localhost 127.0.0.1",
    "SERVER_FILE_WATCHER_TYPE": "none",
    "SERVER_HEADLESS": "true",
}
PATIENCE_SECONDS = 60
# To end by itself.
ENDING_SECONDS = 2


def check_port(port: int) -> None:
    """Refuse a port that cannot be listened on.

    Args:
        port: of this machine.

    Raises:
        ConfigError: another program has it, or this one may not.
    """
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        other = port + 1 if 1024 <= port < 65535 else 8502
        raise ConfigError(
            f"port: {port} cannot be listened on ({error.strerror or error}); set another, such as "
            f"port={other}"
        ) from error


@contextmanager
def serving(run: TrainedRun, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process that serves the page, once it listens; it is ended at the end.

    Args:
        run: the trained run.
        port: of this machine.

    Raises:
        InspectionError: it does not start.
    """
    files = [str(each.absolute()) for each in (run.path, run.checkpoint)]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(PAGE), "--", *files],
        # Streamlit reads a folder `.streamlit` where it is started.
        cwd=PAGE.parent,
        env=_environment(port),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # Ctrl-C is for us to answer.
        start_new_session=True,
    )
    try:
        _wait_for(server, port)
        yield server
    finally:
        _end(server)


def until_ended(server: subprocess.Popen[bytes]) -> int:
    """Wait for the exit code of a process.

    Args:
        server: from `serving`.
    """
    # polars has signals go on with a system call such as that of `wait`, which then never ends.
    while (code := server.poll()) is None:
        time.sleep(0.2)
    return code


@contextmanager
def stopped_by_any_signal() -> Iterator[None]:
    """Let what ends a program, such as a closed terminal, be a KeyboardInterrupt, as Ctrl-C is."""

    def stop(*_: int | FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment(port: int) -> dict[str, str]:
    ours = {f"STREAMLIT_{name}": value for name, value in SETTINGS.items()}
    ours["STREAMLIT_SERVER_PORT"] = str(port)
    if "PYTHONPATH" in os.environ:
        # The process is started in another folder.
        paths = os.environ["PYTHONPATH"].split(os.pathsep)
        ours["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in paths)
    return {**os.environ, **ours}


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise InspectionError("Streamlit has not started; what it said is above")


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()

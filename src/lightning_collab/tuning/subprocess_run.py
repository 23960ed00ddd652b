"""A run in processes of its own: one that Lightning starts several ranks for, or a winner."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lightning_collab.runs.launch import VARIABLES

# Where a run in processes of its own says what it would say on the terminal.
OUTPUT_FILE = "output.log"


def run_subprocess(
    command: Sequence[str], further: Mapping[str, str], output: Path | None
) -> tuple[int, bool]:
    """Run a command, with all that it starts, to the end of all.

    Args:
        command: to run.
        further: environment variables beside ours; those of our own rank are left out.
        output: file for what it says; None: our terminal.

    Returns:
        Its exit code, and whether it was stopped by Ctrl-C.
    """
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    stopped = False
    with open(output or os.devnull, "wb") as file:  # noqa: PTH123 - os.devnull is no Path
        streams = {"stdout": file, "stderr": subprocess.STDOUT} if output else {}
        process = subprocess.Popen(
            command,
            env={**environment, **further},
            start_new_session=True,
            **streams,  # type: ignore[call-overload]
        )
        try:
            while True:
                try:
                    process.wait()
                    break
                except KeyboardInterrupt:
                    # Its first rank saves and ends; the others follow.
                    stopped = True
                    process.send_signal(signal.SIGINT)
        finally:
            # A rank that waits for one that is gone would wait for long.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, stopped


def error_tail(output: Path, returncode: int) -> str:
    """Why a command failed, from what it said.

    Args:
        output: file with what it said.
        returncode: its exit code.
    """
    said = [line.strip() for line in output.read_text(errors="replace").splitlines()]
    said = [line for line in said if line]
    for line in said:
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    return said[-1] if said else f"exit code {returncode}"

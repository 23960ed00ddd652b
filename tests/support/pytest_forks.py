"""Runs of pytest, each in a fork of one process that has imported what takes long.

Reads from stdin a line for each run: a JSON list of pytest's arguments; answers with a line of
JSON: the exit status (None: it took too long) and the first test that failed, if one did.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

SLOW_TO_IMPORT = (
    *("torch", "torch.utils.tensorboard", "torchmetrics", "pytorch_lightning", "numba", "polars"),
    *("pandas", "scipy.sparse.linalg", "scipy.stats", "sklearn.manifold", "hydra", "optuna"),
    *("matplotlib.pyplot", "pydantic", "hypothesis", "rich.console", "pyarrow"),
)
MOST_SECONDS = 300


def forked(arguments: list[str]) -> tuple[int | None, str | None]:
    """One run, its processes ended with it."""
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if child == 0:
            os.setsid()
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            status = int(pytest.main(arguments))
            sys.stdout.flush()
            os._exit(status)
        code = waited(child)
        said.seek(0)
        lines = said.read().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return code, failed[0].split(" - ")[0].split(" ", 1)[1] if failed else None


def waited(child: int) -> int | None:
    """Its exit status; None: it was killed for taking too long."""
    end, code = time.monotonic() + MOST_SECONDS, None
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if code is None:
        os.waitpid(child, 0)
    return code


def main() -> None:
    """Answer until stdin ends."""
    for name in SLOW_TO_IMPORT:
        importlib.import_module(name)
    assert "lightning_collab" not in sys.modules, "a fork would not see the change"
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    main()

"""Worker processes end with the sweep that started them, also where it was killed.

A worker that has a trial notices by itself that its sweep has gone, saves and ends. One that has
not begun its first task, or waits for its next one, runs no code of ours: a small process beside
the sweep ends those.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

# In the environment of all that a sweep starts.
MARK = "LIGHTNING_COLLAB_SWEEP"
# For workers that save what they have.
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.2


@contextmanager
def workers_end_with_us() -> Iterator[None]:
    """Whatever is started in the block ends when this process is killed."""
    mark = uuid.uuid4().hex
    watcher = subprocess.Popen(
        [sys.executable, "-m", __name__, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    before = os.environ.get(MARK)
    os.environ[MARK] = mark
    try:
        yield
    finally:
        os.environ.pop(MARK)
        if before is not None:
            os.environ[MARK] = before
        assert watcher.stdin is not None
        with suppress(OSError):
            watcher.stdin.write(b"done")
            watcher.stdin.close()
        watcher.wait()


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def _watch(mark: str) -> None:
    """End all that has the mark, once standard input ends without a word."""
    if sys.stdin.buffer.read():
        return
    deadline = time.monotonic() + GRACE_SECONDS
    # What was just being started has its own environment in a moment.
    time.sleep(POLL_SECONDS)
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    while left:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(POLL_SECONDS)
        left = _marked(mark)


if __name__ == "__main__":
    _watch(sys.argv[1])

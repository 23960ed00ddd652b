import os
import signal
import subprocess
import sys

import pytest

from lightning_collab.errors import CheckpointError, StorageError
from lightning_collab.runs.lock import LOCK_FILE, run_held

HOLD = (
    "import sys; from pathlib import Path\n"
    "from lightning_collab.runs.lock import run_held\n"
    "with run_held(Path(sys.argv[1])):\n"
    "    print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that writes into `tmp_path / 'run'`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_is_there(tmp_path, holder):
    refused = pytest.raises(CheckpointError, match=f"another run .*process {holder.pid}\\)")
    with refused, run_held(tmp_path / "run"):
        pytest.fail("two at once")
    # Being refused does not take the lock from its holder.
    with pytest.raises(CheckpointError), run_held(tmp_path / "run"):
        pass


def test_what_a_killed_process_held_is_free_at_once(tmp_path, holder):
    half = tmp_path / "run" / "checkpoints" / f".last.ckpt-{'0' * 32}"
    half.parent.mkdir()
    half.write_text("half a checkpo")
    (tmp_path / "run" / ".name-of-somebody").write_text("stays")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK_FILE).is_file()
    with run_held(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK_FILE).read_text().split()[0] == str(os.getpid())
        assert not half.exists()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        ".name-of-somebody",
        "checkpoints",
    ]


def test_when_the_first_ends_the_next_may(tmp_path, holder):
    holder.communicate("")
    with run_held(tmp_path / "run"):
        pass


def test_the_same_thread_may_hold_it_twice(tmp_path):
    with run_held(tmp_path):
        with run_held(tmp_path):
            pass
        assert (tmp_path / LOCK_FILE).is_file()
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match=r"cannot write .*file/run"),
        run_held(tmp_path / "file/run"),
    ):
        pass

"""One process at a time writes, and sums: what is altered is refused, what a kill leaves is not."""

import json
import os
import random
import signal
import subprocess
import sys

import polars as pl
import pytest

from lightning_collab.data.metadata import SCHEMA, History
from lightning_collab.errors import CheckpointError, StorageError
from lightning_collab.runs import files
from lightning_collab.runs.files import LOCK_FILE, SUMS_FILE, check_sum, run_held, summed_file

HOLD = (
    "import sys; from pathlib import Path\n"
    "from lightning_collab.runs.files import run_held\n"
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


TABLE = pl.DataFrame(
    {
        "user": [1 + n // 10 for n in range(200)],
        "item": [1 + n % 10 for n in range(200)],
        "rating": [float(1 + n % 5) for n in range(200)],
        "held_out": [n % 7 == 0 for n in range(200)],
    },
    schema=SCHEMA,
)


@pytest.fixture
def history(tmp_path):
    path = tmp_path / "history.parquet"
    with summed_file(path) as file:
        TABLE.write_parquet(file)
    return path


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_is_never_taken_for_a_rating(history, seed):
    """A hundred places each."""
    draw = random.Random(seed)
    whole = history.read_bytes()
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        history.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"history\.parquet: altered, or only partly cop"):
            History.read(history, 21, 11)
    history.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match=r"history\.parquet: altered, or only partly copied"):
        History.read(history, 21, 11)
    history.write_bytes(whole)
    assert len(History.read(history, 21, 11)) == 200


def test_a_file_of_a_version_without_sums_is_read(history):
    (history.parent / SUMS_FILE).unlink()
    assert len(History.read(history, 21, 11)) == 200
    (history.parent / SUMS_FILE).write_text('{"items.parquet": ["x"]}')
    assert len(History.read(history, 21, 11)) == 200


@pytest.mark.parametrize("content", ["", "[]", '{"history.parquet": "x"}', "\x80", "[" * 100_000])
def test_sums_that_are_none_are_named(history, content):
    (history.parent / SUMS_FILE).write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"sums\.json: not the sums of a run's files"):
        check_sum(history)


@pytest.mark.parametrize("name", ["sum_of", "write_atomically"])
def test_a_process_that_is_killed_on_the_way_leaves_the_file_before(history, monkeypatch, name):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files, name, killed)
        with pytest.raises(KeyboardInterrupt), summed_file(history) as file:
            file.write(b"other")
    assert len(History.read(history, 21, 11)) == 200


def test_a_process_that_is_killed_between_sum_and_file_leaves_what_can_be_read(history):
    whole = history.read_bytes()
    with summed_file(history) as file:
        file.write(b"other")
    # As if the new file had never taken the place of the old one.
    history.write_bytes(whole)
    assert len(History.read(history, 21, 11)) == 200
    with summed_file(history) as file:
        file.write(b"third")
    check_sum(history)
    assert len(json.loads((history.parent / SUMS_FILE).read_text())[history.name]) == 2
    history.write_bytes(b"other")
    with pytest.raises(CheckpointError, match="altered"):
        check_sum(history)

"""Files whose sums are kept: what is altered is refused, what a kill leaves is not."""

import json
import random

import polars as pl
import pytest

from lightning_collab.data.history import SCHEMA, History
from lightning_collab.errors import CheckpointError
from lightning_collab.runs import sums
from lightning_collab.runs.sums import SUMS_FILE, check_sum, summed_file

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


@pytest.mark.parametrize("name", ["_sum", "write_atomically"])
def test_a_process_that_is_killed_on_the_way_leaves_the_file_before(history, monkeypatch, name):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sums, name, killed)
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

import itertools
import threading

import polars as pl
import pytest

from lightning_collab.errors import StorageError
from lightning_collab.inference import table_stream
from lightning_collab.inference.table_stream import write_stream

FRAME = pl.DataFrame(
    {
        "title": ["=cmd()", "Heat (1995)"],
        "genres": [["Drama", "Horror"], ["-x"]],
        "prediction": [-1.5, 2.0],
    }
)


def test_csv_is_for_spreadsheets_and_parquet_is_as_it_is(tmp_path):
    for name in ("a.csv", "a.parquet"):
        write_stream(tmp_path / name, iter([FRAME, FRAME]), FRAME.schema)
    twice = pl.concat([FRAME, FRAME])
    assert pl.read_parquet(tmp_path / "a.parquet").equals(twice)
    found = pl.read_csv(tmp_path / "a.csv")
    assert found["title"].to_list() == ["'=cmd()", "Heat (1995)"] * 2
    assert found["genres"].to_list() == ["Drama|Horror", "'-x"] * 2
    assert found["prediction"].equals(twice["prediction"])


def test_no_frames_are_a_file_with_names(tmp_path):
    write_stream(tmp_path / "a.csv", iter([]), FRAME.schema)
    assert (tmp_path / "a.csv").read_text() == "title,genres,prediction\n"


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_frames_are_made_in_the_thread_that_asks(tmp_path, name):
    threads = set()

    def frames():
        for _ in range(20):
            threads.add(threading.current_thread().name)
            yield FRAME

    write_stream(tmp_path / name, frames(), FRAME.schema)
    assert threads == {threading.current_thread().name}


@pytest.mark.parametrize("error", [ValueError("of ours"), KeyboardInterrupt()])
def test_what_stops_the_frames_leaves_nothing(tmp_path, error):
    def frames():
        yield FRAME
        raise error

    with pytest.raises(type(error)):
        write_stream(tmp_path / "a.parquet", frames(), FRAME.schema)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_stops_the_frames(tmp_path, monkeypatch):
    def full(stream, file, *, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table_stream, "_sink", full)
    endless = itertools.repeat(FRAME)
    with pytest.raises(StorageError, match=r"cannot write .*a\.csv: No space left"):
        write_stream(tmp_path / "a.csv", endless, FRAME.schema)
    assert not list(tmp_path.iterdir())

import gzip
import itertools
import threading

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from support import CONF

from lightning_collab.commands.recommend import predict_command
from lightning_collab.errors import ConfigError, DataError, StorageError
from lightning_collab.inference import table_stream
from lightning_collab.inference.prediction import predict_file
from lightning_collab.inference.table_stream import PairsFile, write_stream

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


ROWS = 25
PAIRS = {"user": None, "item": None}


@pytest.fixture
def pairs(monkeypatch):
    """25 pairs, of which one has an unknown user and two have an unknown item; small blocks."""
    monkeypatch.setattr(table_stream, "ROWS_AT_A_TIME", 4)
    random = np.random.default_rng(0)
    users, items = random.integers(500, 560, ROWS), random.integers(10, 55, ROWS)
    users[3], items[5], items[6] = 1, 99, 8
    note = ['said "no, never"', "line\nbreak", "", None, "007"]
    return pl.DataFrame({"user": users, "item": items, "note": note * 5, "weight": users / 7})


def written(path, frame):
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path


def read(path):
    return pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)


@pytest.mark.parametrize("source", ["a.csv", "a.parquet"])
@pytest.mark.parametrize("output", ["b.csv", "b.parquet"])
def test_every_row_gets_its_prediction(trained, pairs, tmp_path, source, output):
    opened = PairsFile.open(
        written(tmp_path / source, pairs), PAIRS, as_text=output.endswith("csv")
    )
    told = []
    done = predict_file(trained, opened, tmp_path / output, told.append)
    found = read(tmp_path / output)
    expected = trained.predict(pairs["user"], pairs["item"])
    assert found.columns == [*pairs.columns, *expected.columns]
    assert found["user"].equals(pairs["user"])
    assert found["item"].equals(pairs["item"])
    np.testing.assert_allclose(found["weight"], pairs["weight"])
    np.testing.assert_allclose(found["prediction"], expected["prediction"], atol=1e-6)
    assert found["known_user"].equals(expected["known_user"])
    assert found["known_item"].equals(expected["known_item"])
    assert (done.pairs, done.unknown_users, done.unknown_items) == (ROWS, 1, 1)
    assert sum(told) == ROWS
    assert len(told) > 1
    assert found["note"][0] == 'said "no, never"'
    assert found["note"][1] == "line\nbreak"


def test_numbers_in_text_are_numbers_in_parquet(trained, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("userId,movieId,zip,score,empty\n500,10,007,1.5,\n501,11,90210,2,\n")
    opened = PairsFile.open(path, PAIRS)
    predict_file(trained, opened, tmp_path / "b.parquet")
    found = pl.read_parquet(tmp_path / "b.parquet")
    kinds = [pl.Int64, pl.Int64, pl.Float64, pl.Float64, pl.String]
    assert list(found.schema.values())[:5] == kinds
    assert found["userId"].to_list() == [500, 501]


def test_ids_that_are_not_all_numbers_stay_text(trained, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item\n500,10\nann,011\n,11\n")
    predict_file(trained, PairsFile.open(path, PAIRS), tmp_path / "b.parquet")
    found = pl.read_parquet(tmp_path / "b.parquet")
    assert found["user"].to_list() == ["500", "ann", None]
    assert found["item"].to_list() == ["10", "011", "11"]
    assert found["known_user"].to_list() == [True, False, False]


def test_cells_that_a_spreadsheet_would_run_are_text(trained, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,item,note\n500,10,=1+1\n501,11,-2\n502,12,@SUM(A1)\n")
    predict_file(trained, PairsFile.open(path, PAIRS, as_text=True), tmp_path / "b.csv")
    notes = pl.read_csv(tmp_path / "b.csv", infer_schema=False)["note"].to_list()
    assert notes == ["'=1+1", "-2", "'@SUM(A1)"]
    predict_file(trained, PairsFile.open(path, PAIRS), tmp_path / "b.parquet")
    assert pl.read_parquet(tmp_path / "b.parquet")["note"][0] == "=1+1"


def test_a_model_with_uncertainty_writes_it(run_of, pairs, tmp_path):
    path = written(tmp_path / "a.parquet", pairs)
    predict_file(run_of("bayesian_factors"), PairsFile.open(path, PAIRS), tmp_path / "b.parquet")
    assert pl.read_parquet(tmp_path / "b.parquet")["standard_deviation"].min() > 0


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("user,item", ("user", "item")),
        ("userId,movieId,rating", ("userId", "movieId")),
        ("USER_ID,Film", ("USER_ID", "Film")),
        ("user,user_id,item,movie", ("user", "item")),
        ("visitor,product", ("visitor", "product")),
    ],
)
def test_columns_are_found_by_their_usual_names(tmp_path, names, found):
    path = tmp_path / "a.csv"
    path.write_text(f"{names}\n{','.join('1' * len(names.split(',')))}\n")
    own = {"user": "visitor", "item": "product"}
    opened = PairsFile.open(path, PAIRS, further_names=own)
    assert (opened.columns["user"], opened.columns["item"]) == found


@pytest.mark.parametrize(
    ("text", "columns", "error", "message"),
    [
        ("", {}, DataError, "the file is empty"),
        ("user,item\n", {}, DataError, "no rows below the header"),
        (
            "a,b\n1,2\n",
            {},
            ConfigError,
            r"no column for the users; it has 'a', 'b'\. Set which with",
        ),
        ("user,b\n1,2\n", {}, ConfigError, r"no column for the items.*columns\.item=<name>"),
        ("user:item\n1:2\n", {}, ConfigError, r"no column for the users; it has 'user:item'"),
        ("user,item\n1,2\n", {"user": "usr"}, ConfigError, "no column 'usr'.*mean 'user'"),
        ("user_id,userid,item\n1,2,3\n", {}, ConfigError, "several columns could be the users"),
        ("user,item\n1,2,3\n", {}, DataError, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, text, columns, error, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(error, match=message):
        PairsFile.open(path, {**PAIRS, **columns})


def test_files_that_are_not_what_they_are_called(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        PairsFile.open(tmp_path / "none.csv", PAIRS)
    (tmp_path / "a.parquet").write_text("user,item\n1,2\n")
    with pytest.raises(DataError, match="cannot be read"):
        PairsFile.open(tmp_path / "a.parquet", PAIRS)
    (tmp_path / "latin.csv").write_bytes("user,item\nJosé,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv, line 2: the text is not utf8"):
        PairsFile.open(tmp_path / "latin.csv", PAIRS)
    with gzip.open(tmp_path / "packed.csv.gz", "wt") as file:
        file.write("user,item\n500,10\n")
    assert PairsFile.open(tmp_path / "packed.csv.gz", PAIRS).rows == 1


def test_nothing_is_left_of_what_fails_on_the_way(trained, pairs, tmp_path, monkeypatch):
    path = written(tmp_path / "a.csv", pairs)
    opened = PairsFile.open(path, PAIRS)
    (tmp_path / "b.parquet").write_bytes(b"what was there before")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:20], "1,2,3,4,5,6\n"]))
    with pytest.raises(DataError, match="cannot be read"):
        predict_file(trained, opened, tmp_path / "b.parquet")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.csv", "b.parquet"]
    assert (tmp_path / "b.parquet").read_bytes() == b"what was there before"


def test_a_folder_that_cannot_be_written_is_named(trained, pairs, tmp_path):
    opened = PairsFile.open(written(tmp_path / "a.csv", pairs), PAIRS)
    with pytest.raises(StorageError, match="b\\.csv"):
        predict_file(trained, opened, tmp_path / "none" / "b.csv")


def job(film_run, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return predict_command(compose("predict", [f"run={film_run.directory.path}", *overrides]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["output=b.csv"], "input: set input="),
        (["input=a.csv"], "output: set output="),
        (["input=a.csv", "output=b.xlsx"], r"must end with \.csv or \.parquet"),
        (["input=a.csv", "output=a.csv"], "the input itself"),
        (["input=a.csv", "output=./x/../a.csv"], "the input itself"),
        (["input=a.csv", "output=there.csv"], "set overwrite=true"),
        (["input=a.csv", "output=none/b.csv"], "no folder none"),
        (["input=a.csv", "output=folder.csv"], "is a folder"),
        (["input=a.csv", "output=b.csv", "threads=0"], "threads"),
        (["input=a.csv", "output=b.csv", "columns.user=visitor"], "no column 'visitor'"),
        (["input=taken.csv", "output=b.csv"], "a column is named 'prediction' already"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    film_run, tmp_path, monkeypatch, overrides, message
):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "there.csv", "x/y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("user,item\n500,10\n")
    (tmp_path / "taken.csv").write_text("user,item,prediction\n500,10,3\n")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=message):
        job(film_run, *overrides)
    assert not (tmp_path / "b.csv").exists()


def test_an_output_is_replaced_when_that_is_said(film_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("user,item\n500,10\n7,10\n")
    (tmp_path / "b.csv").write_text("old")
    job(film_run, "input=a.csv", "output=b.csv", "overwrite=true")
    assert pl.read_csv("b.csv")["known_user"].to_list() == [True, False]
    assert "2 predictions (1 of unknown users) in" in capsys.readouterr().out

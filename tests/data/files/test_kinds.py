"""Which files a path stands for, and what is refused by its name."""

import bz2
import io
import lzma
import pickle
import sqlite3
import tarfile
import zipfile

import numpy as np
import polars as pl
import pytest

from lightning_collab.data.files.kinds import is_json_lines, is_parquet, part_files, plain_text
from lightning_collab.errors import DataError

TEXT = b"user,item,rating\n1,2,3\n"


def archive(kind, *names):
    buffer = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("a.csv"))
    else:
        with zipfile.ZipFile(buffer, "w") as packed:
            for name in names:
                packed.writestr(name, TEXT)
    return buffer.getvalue()


def saved(writer, *arguments):
    buffer = io.BytesIO()
    writer(buffer, *arguments)
    return buffer.getvalue()


def database(path):
    connection = sqlite3.connect(path)
    connection.execute("create table a (b)")
    connection.commit()
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (archive("zip", "a.csv"), "a zip archive, .*unpack it"),
        (archive("zip", "xl/workbook.xml"), "an Excel workbook, .*save the sheet as CSV"),
        (archive("tar"), "a tar archive"),
        (bz2.compress(TEXT), "compressed with bzip2, .*bunzip2"),
        (lzma.compress(TEXT), "compressed with xz"),
        (pickle.dumps([1]), "a pickle, .*pickles are never read"),
        (saved(np.save, np.ones(3)), "a NumPy array"),
        (pl.DataFrame({"a": [1]}).write_ipc(None).getvalue(), "an Arrow"),
        (b"<!DOCTYPE html><title>Not found</title>", "a web page, .*download"),
        (b' [ {"user": 1} ]', "one JSON array, .*one object per line"),
        (b"a,b\n1,\x00\n", "not text; delimited text, JSON lines and Parquet can be read"),
        (bytes(range(1, 32)) * 9, "not text"),
        (b"\xd0\xcf\x11\xe0 and so on", "an Excel workbook"),
    ],
)
def test_what_is_not_read_is_refused_by_its_name(tmp_path, content, what):
    path = tmp_path / "ratings.csv"
    path.write_bytes(content)
    with (
        pytest.raises(DataError, match=rf"ratings\.csv: this is {what}") as refused,
        plain_text(path),
    ):
        pass
    assert str(refused.value).isprintable()


def test_a_database_is_refused_by_its_name(tmp_path):
    database(tmp_path / "a.csv")
    with pytest.raises(DataError, match="an SQLite database"), plain_text(tmp_path / "a.csv"):
        pass


def test_a_table_may_be_one_file_a_folder_of_parts_or_a_pattern(tmp_path):
    folder = tmp_path / "ratings"
    folder.mkdir()
    for name in ("part-1.csv", "part-0.csv", "_SUCCESS", ".part-0.csv.crc"):
        (folder / name).write_bytes(TEXT)
    parts = [folder / "part-0.csv", folder / "part-1.csv"]
    assert part_files(folder) == parts
    assert part_files(folder / "part-*.csv") == parts
    assert part_files(folder / "part-0.csv") == parts[:1]
    assert part_files(folder / "none.csv") == [folder / "none.csv"]
    odd = folder / "part-[0].csv"
    odd.write_bytes(TEXT)
    assert part_files(odd) == [odd]
    with pytest.raises(DataError, match="no file matches this pattern"):
        part_files(folder / "*.parquet")
    (folder / "readme.md").write_text("x")
    with pytest.raises(DataError, match=r"several kinds \(.*\); name the parts by a pattern"):
        part_files(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="this folder has no files"):
        part_files(tmp_path / "empty")
    with pytest.raises(DataError, match="it contains folders, such as empty"):
        part_files(tmp_path)


def test_a_kind_is_known_by_what_is_said_by_the_name_or_by_the_first_bytes(tmp_path):
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "data")
    assert is_parquet(tmp_path / "data")
    assert is_parquet(tmp_path / "none.PQ")
    assert not is_parquet(tmp_path / "none")
    assert not is_parquet(tmp_path / "data", "csv")
    assert is_json_lines(b'\xef\xbb\xbf\n{"a": 1}')
    assert not is_json_lines(b"{a},b\n")
    assert is_json_lines(b"a", "jsonl")
    assert not is_json_lines(b'{"a": 1}', "csv")

"""Which files a path stands for, what is refused by its name, and packed text."""

import bz2
import gzip
import io
import logging
import lzma
import pickle
import sqlite3
import tarfile
import zipfile

import numpy as np
import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_collab.data.files import kinds
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


TEXT_WITH_MARKS = "user,item,rating\nJosé,Ünter,3\n"
PACKERS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "two frames of zstd": lambda content: b"".join(
        zstandard.ZstdCompressor().compress(part) for part in (content[:9], content[9:])
    ),
}
ENCODINGS = {"utf8": "utf8", "utf16": "utf-16", "cp1252": "cp1252", "latin-1": "latin-1"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("packed") / "ratings.csv"


def text_of(path, content, encoding="auto"):
    path.write_bytes(content)
    with plain_text(path, encoding) as text:
        kept = text.path
        read = text.path.read_bytes().decode("utf-8-sig"), text.encoding
    # Nothing is left of a copy.
    assert kept == path or not kept.exists()
    return read


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_text_is_the_same_however_it_is_packed_and_written(path, packer, encoding):
    content = PACKERS[packer](TEXT_WITH_MARKS.encode(ENCODINGS[encoding]))
    assert text_of(path, content, encoding) == (TEXT_WITH_MARKS, encoding)
    if encoding != "latin-1":
        assert text_of(path, content)[0] == TEXT_WITH_MARKS


def test_an_encoding_that_was_found_is_said_with_the_line(path, caplog):
    caplog.set_level(logging.INFO)
    assert text_of(path, "a,b\n1,2\n3,5 € for “x”\n".encode("cp1252"))[1] == "cp1252"
    assert "line 3 is not utf8; taken as cp1252" in caplog.text
    # 0x81 is nothing in cp1252.
    assert text_of(path, b"a,b\n1,\x81\xe9\n")[1] == "latin-1"


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1))
@settings(max_examples=50, deadline=None)
def test_utf8_is_never_taken_for_anything_else(path, text):
    content = ("user,item\n" * 3 + text).encode()
    path.write_bytes(content)
    with plain_text(path) as found:
        assert (found.path, found.encoding) == (path, "utf8")


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_what_is_cut_short_or_damaged_is_said(path, packer):
    whole = PACKERS[packer](TEXT_WITH_MARKS.encode() * 100)
    with pytest.raises(DataError, match="cut short; get it again"):
        text_of(path, whole[: len(whole) // 2])
    damaged = bytearray(whole)
    for place in range(len(whole) // 2, len(whole) // 2 + 8):
        damaged[place] ^= 0xFF
    with pytest.raises(DataError, match=r"damaged|cut short"):
        text_of(path, bytes(damaged))


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_what_unpacks_to_far_more_than_its_size_is_refused(path, packer, monkeypatch):
    monkeypatch.setattr(kinds, "ALWAYS_ALLOWED", 1 << 20)
    content = b"1,2,3\n" * 1_000_000
    packed = PACKERS[packer](content)
    assert len(content) > 100 * len(packed)
    with pytest.raises(DataError, match=r"unpacks to more than 1 MiB, over 100 times its size"):
        text_of(path, packed)
    monkeypatch.setattr(kinds, "ALWAYS_ALLOWED", 1 << 23)
    assert text_of(path, packed)[0] == content.decode()


def test_a_bound_leaves_the_disk_alone(path, monkeypatch):
    """It stops at the bound, not at the end."""
    monkeypatch.setattr(kinds, "ALWAYS_ALLOWED", 1 << 20)
    read = []
    original = gzip.GzipFile.read
    monkeypatch.setattr(
        gzip.GzipFile, "read", lambda self, size: read.append(size) or original(self, size)
    )
    with pytest.raises(DataError, match="unpacks to"):
        text_of(path, gzip.compress(bytes(50 << 20)))
    assert len(read) <= 8


def test_zstd_without_its_package_says_how_to_get_it(path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(DataError, match=r"pip install 'lightning-collab\[zstd\]'"):
        text_of(path, PACKERS["zstd"](b"a"))


def test_a_file_that_is_not_there_or_empty_is_said(path, tmp_path):
    with pytest.raises(DataError, match="no such file"), plain_text(tmp_path / "none"):
        pass
    with pytest.raises(DataError, match="the file is empty"):
        text_of(path, b"")
    with pytest.raises(DataError, match=r"line 2: the text is not utf8; it may be latin-1"):
        text_of(path, b"a\n\xe9\n", "utf8")


def test_a_character_between_two_chunks_is_whole(path, monkeypatch):
    monkeypatch.setattr(kinds, "CHUNK", 3)
    content = "aé€😀\n" * 5
    assert text_of(path, content.encode()) == (content, "utf8")
    assert text_of(path, content.encode("utf-16")) == (content, "utf16")
    with pytest.raises(DataError, match=r"line 6: the text is not utf8"):
        text_of(path, content.encode() + b"ab\xff", "utf8")

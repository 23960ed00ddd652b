"""Packed text, and text that is not UTF-8."""

import gzip
import logging

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_collab.data.files import kinds
from lightning_collab.data.files.kinds import plain_text
from lightning_collab.errors import DataError

TEXT = "user,item,rating\nJosé,Ünter,3\n"
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
    content = PACKERS[packer](TEXT.encode(ENCODINGS[encoding]))
    assert text_of(path, content, encoding) == (TEXT, encoding)
    if encoding != "latin-1":
        assert text_of(path, content)[0] == TEXT


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
    whole = PACKERS[packer](TEXT.encode() * 100)
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

import errno
import hashlib
import http.server
import io
import stat
import subprocess
import sys
import threading
import zipfile

import pytest

from lightning_collab.data.download import Server, WrongChecksumError, obtain
from lightning_collab.errors import DataError


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("release/u.data", "1\t2\t3\t4\n")
        file.writestr("release/secret", "not asked for")
    return buffer.getvalue()


@pytest.fixture
def served():
    """A server on this machine; `asked` counts the downloads."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked = 0
        content = archive()

        def do_GET(self):
            type(self).asked += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Handler.url = f"http://127.0.0.1:{server.server_port}/release.zip"
    yield Handler
    server.shutdown()
    server.server_close()


def place(served, sha256=None, url=None):
    return Server(
        url or served.url,
        sha256 or hashlib.sha256(served.content).hexdigest(),
        {"release/u.data": "u.data"},
    )


def test_only_the_members_asked_for_are_stored(served, tmp_path):
    obtain(tmp_path / "root" / "set", [place(served)], by_hand="")
    assert (tmp_path / "root" / "set" / "u.data").read_text() == "1\t2\t3\t4\n"
    names = sorted(path.name for path in tmp_path.rglob("*"))
    assert names == [".set.lock", "root", "set", "u.data"]


def test_a_wrong_sum_is_refused_and_nothing_is_left(served, tmp_path):
    with pytest.raises(WrongChecksumError, match=r"refused .*release\.zip") as raised:
        obtain(tmp_path / "set", [place(served, "0" * 64), place(served)], by_hand="")
    assert hashlib.sha256(served.content).hexdigest() in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == [".set.lock"]


def test_the_next_place_is_tried_when_one_cannot_be_reached(served, tmp_path):
    unreachable = place(served, url="http://127.0.0.1:9/release.zip")
    obtain(tmp_path / "set", [unreachable, place(served)], by_hand="")
    assert (tmp_path / "set" / "u.data").is_file()


def test_when_no_place_can_be_reached_each_is_named(served, tmp_path):
    urls = ["http://127.0.0.1:9/one.zip", "http://127.0.0.1:9/two.zip"]
    with pytest.raises(DataError) as raised:
        obtain(tmp_path / "set", [place(served, url=u) for u in urls], by_hand="Put it there.")
    for part in [str(tmp_path / "set"), *urls, "Put it there."]:
        assert part in str(raised.value)


def test_what_is_there_is_not_asked_for_again(served, tmp_path):
    for _ in range(2):
        obtain(tmp_path / "set", [place(served)], by_hand="")
    assert served.asked == 1


def test_two_processes_at_once_download_once(served, tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from lightning_collab.data.download import Server, obtain\n"
        "place = Server(sys.argv[2], sys.argv[3], {'release/u.data': 'u.data'})\n"
        "obtain(Path(sys.argv[1]), [place], by_hand='')\n"
    )
    sha256 = hashlib.sha256(served.content).hexdigest()
    command = [sys.executable, "-c", code, str(tmp_path / "set"), served.url, sha256]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert served.asked == 1


def test_a_folder_that_cannot_be_written_is_named(served, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the data folder"):
        obtain(tmp_path / "file" / "set", [place(served)], by_hand="")


def link(name, target):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry, target


NEVER = {
    "climbs out": ("../../escaped", "x"),
    "climbs out from within": ("release/../../escaped", "x"),
    "with the other slash": ("release\\..\\..\\escaped", "x"),
    "absolute": ("/etc/escaped", "x"),
    "on a drive": ("C:\\escaped", "x"),
    "link": link("release/u.data", "/etc/passwd"),
    "link beside it": link("release/other", "../.."),
    "bomb": ("release/u.data", "1" * 10_000_000),
}


@pytest.mark.parametrize("trick", NEVER)
def test_an_archive_with_a_trick_in_it_is_refused_as_a_whole(served, tmp_path, trick):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        member, content = NEVER[trick]
        file.writestr(member, content)
        if "u.data" not in str(member):
            file.writestr("release/u.data", "1\t2\t3\t4\n")
    served.content = buffer.getvalue()
    with pytest.raises(DataError, match=r"refused http.*release\.zip") as raised:
        obtain(tmp_path / "root" / "set", [place(served)], by_hand="")
    assert ("unpack to 10,000,000" if trick == "bomb" else "its member") in str(raised.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["root", ".set.lock"]


def test_an_archive_that_lies_about_its_size_is_refused(served, tmp_path):
    """The bomb's own header says 9 bytes; no more than that is ever unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("release/u.data", "1" * 10_000_000)
    size = (10_000_000).to_bytes(4, "little")
    served.content = buffer.getvalue().replace(size, (9).to_bytes(4, "little"))
    with pytest.raises(DataError, match="not a complete zip archive"):
        obtain(tmp_path / "set", [place(served)], by_hand="")
    assert [path.name for path in tmp_path.iterdir()] == [".set.lock"]


def test_a_full_disk_is_not_taken_for_a_server_that_does_not_answer(served, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pooch.retrieve", full)
    with pytest.raises(DataError, match=r"cannot write the data folder .*No space left"):
        obtain(tmp_path / "set", [place(served), place(served)], by_hand="")

import hashlib
import http.server
import io
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
        file.writestr("../../escaped", "climbs out")
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
    threading.Thread(target=server.serve_forever, daemon=True).start()
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

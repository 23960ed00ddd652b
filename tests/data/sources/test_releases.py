"""The larger releases, from made archives in each one's format on a server of this machine."""

import hashlib
import http.server
import io
import logging
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from lightning_collab.data.download import WrongChecksumError
from lightning_collab.data.sources import ml_large
from lightning_collab.data.sources.movielens import load_release
from lightning_collab.errors import DataError

RATINGS = [(1, 1193, 5, 978300760), (1, 661, 3, 978302109), (2, 1193, 4, 978298413)]
CSV = {
    "README.txt": "Summary",
    "ratings.csv": "userId,movieId,rating,timestamp\r\n"
    + "".join(f"{u},{i},{r}.0,{t}\r\n" for u, i, r, t in RATINGS),
    "movies.csv": "movieId,title,genres\r\n"
    '661,"American President, The (1995)",Comedy|Drama|Romance\r\n'
    "1193,Cosmos: Amélie (2001),(no genres listed)\r\n",
    "tags.csv": "userId,movieId,tag,timestamp\r\n",
    "links.csv": "movieId,imdbId,tmdbId\r\n",
}
DAT = {
    "README": "Summary",
    "README.html": "Summary",
    "ratings.dat": "".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in RATINGS),
    "movies.dat": "661::American President, The (1995)::Comedy|Drama|Romance\n"
    "1193::Cosmos: Amélie (2001)::(no genres listed)\n",
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
    "tags.dat": "",
}
NAMES = ("ml_1m", "ml_10m", "ml_20m", "ml_25m", "ml_32m")


def archive_of(release):
    dat = release.folder in ("ml-1m", "ml-10M100K")
    encoding = "latin-1" if release.name == "ml_1m" else "utf8"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for member, name in release.server.members.items():
            file.writestr(member, (DAT if dat else CSV)[name].encode(encoding))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server():
    """`content` is what the server answers with."""

    class Handler(http.server.BaseHTTPRequestHandler):
        content = b""

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    Handler.url = f"http://127.0.0.1:{running.server_port}/release.zip"
    yield Handler
    running.shutdown()
    running.server_close()


def served(release, server, **changes):
    server.content = archive_of(release)
    md5 = hashlib.md5(server.content).hexdigest()
    place = replace(release.server, url=server.url, md5=md5)
    return replace(release, server=replace(place, **changes))


@pytest.mark.parametrize("name", NAMES)
def test_each_release_is_downloaded_and_read(server, tmp_path, name, caplog):
    release = served(ml_large.RELEASES[name], server)
    with caplog.at_level(logging.INFO):
        table = load_release(release, tmp_path)
        load_release(release, tmp_path)
    assert caplog.text.count("Cite: Harper and Konstan") == 1
    assert table.name == name
    assert table.user_vocabulary.decode(table.users).to_list() == [1, 1, 2]
    assert table.item_vocabulary.decode(table.items).to_list() == [1193, 661, 1193]
    assert table.ratings.tolist() == [5.0, 3.0, 4.0]
    assert table.timestamps.tolist() == [978300760, 978302109, 978298413]
    assert table.rating_range == ((1.0, 5.0) if name == "ml_1m" else (0.5, 5.0))
    assert table.item_features.to_dicts() == [
        {
            "item": 661,
            "title": "American President, The (1995)",
            "year": 1995,
            "genres": ["Comedy", "Drama", "Romance"],
        },
        {"item": 1193, "title": "Cosmos: Amélie (2001)", "year": 2001, "genres": []},
    ]
    if name == "ml_1m":
        assert table.user_features.to_dicts() == [
            {"user": 1, "age": 1, "gender": "F", "occupation": "K-12 student"},
            {"user": 2, "age": 56, "gender": "M", "occupation": "self-employed"},
        ]
    else:
        assert table.user_features is None


@pytest.mark.parametrize("name", NAMES)
def test_the_published_sum_decides(server, tmp_path, name):
    release = ml_large.RELEASES[name]
    assert len(release.server.md5) == 32
    assert release.server.url.startswith("https://files.grouplens.org/datasets/movielens/ml-")
    with pytest.raises(WrongChecksumError, match=r"md5 expected"):
        load_release(served(release, server, md5=release.server.md5), tmp_path)
    assert not (tmp_path / release.folder).exists()


def test_an_unpublished_sum_is_recorded_and_checked_at_the_next_download(server, tmp_path):
    release = served(ml_large.EDITIONS[2018], server, md5=None)
    load_release(release, tmp_path)
    record = tmp_path / ".ml-latest-small.sha256"
    assert record.read_text().split()[0] == hashlib.sha256(server.content).hexdigest()
    folder = tmp_path / release.folder
    folder.rename(tmp_path / "before")
    load_release(release, tmp_path)
    folder.rename(tmp_path / "again")
    server.content += b"\0"
    with pytest.raises(WrongChecksumError, match=r"first download, kept in .*remove that file"):
        load_release(release, tmp_path)


@pytest.mark.parametrize("broken", ["cut", "other members"])
def test_an_archive_that_is_none_is_refused_and_nothing_left(server, tmp_path, broken):
    release = ml_large.RELEASES["ml_20m"]
    if broken == "cut":
        content = archive_of(release)[:200]
    else:
        content = archive_of(ml_large.RELEASES["ml_25m"])
    release = served(release, server, md5=hashlib.md5(content).hexdigest())
    server.content = content
    with pytest.raises(DataError, match=r"127\.0\.0\.1"):
        load_release(release, tmp_path)
    assert not (tmp_path / release.folder).exists()


def test_a_bad_line_of_a_large_release_is_named(tmp_path):
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    (folder / "ratings.dat").write_text("1::1193::5::978300760\n1::661::7::978302109\n")
    with pytest.raises(DataError, match=r"ratings\.dat, line 2: '7' is outside the scale"):
        load_release(ml_large.RELEASES["ml_1m"], tmp_path)


def test_both_editions_of_latest_small(shared_data):
    for edition, ratings, users, items in (
        (2018, 100_836, 610, 9_724),
        (2016, 100_004, 671, 9_066),
    ):
        table = load_release(ml_large.EDITIONS[edition], shared_data)
        assert (len(table), len(np.unique(table.users)), len(np.unique(table.items))) == (
            ratings,
            users,
            items,
        )
        toy_story = table.item_features.row(0, named=True)
        assert toy_story == {
            "item": 1,
            "title": "Toy Story (1995)",
            "year": 1995,
            "genres": ["Adventure", "Animation", "Children", "Comedy", "Fantasy"],
        }


def test_the_edition_that_is_gone_says_how_to_place_it(tmp_path):
    with pytest.raises(DataError, match=r"(?s)ml-latest-small-2016: not there.*821795331fd974bb"):
        load_release(ml_large.EDITIONS[2016], tmp_path)

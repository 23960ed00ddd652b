import logging
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from lightning_collab.data.download import UnreachableError
from lightning_collab.data.sources import ml_100k as source
from lightning_collab.errors import DataError


def test_the_release_as_its_readme_describes_it(ml_100k):
    assert len(ml_100k) == 100_000
    assert np.unique(ml_100k.users).tolist() == list(range(1, 944))
    assert np.unique(ml_100k.items).tolist() == list(range(1, 1683))
    stars, counts = np.unique(ml_100k.ratings, return_counts=True)
    assert dict(zip(stars.tolist(), counts.tolist(), strict=True)) == {
        1: 6110,
        2: 11370,
        3: 27145,
        4: 34174,
        5: 21201,
    }
    first = 0
    assert ml_100k.user_vocabulary.decode(ml_100k.users[[first]]).to_list() == [196]
    assert ml_100k.item_vocabulary.decode(ml_100k.items[[first]]).to_list() == [242]
    assert (ml_100k.ratings[first], ml_100k.timestamps[first]) == (3.0, 881250949)
    assert ml_100k.users.nbytes + ml_100k.items.nbytes + ml_100k.ratings.nbytes == 12 * 100_000


def test_what_is_known_of_films_and_people(ml_100k):
    toy_story = ml_100k.item_features.row(0, named=True)
    assert toy_story == {
        "item": 1,
        "title": "Toy Story (1995)",
        "year": 1995,
        "genres": ["Animation", "Children's", "Comedy"],
    }
    assert ml_100k.user_features.row(0, named=True) == {
        "user": 1,
        "age": 24,
        "gender": "M",
        "occupation": "technician",
    }


@pytest.fixture(scope="session")
def recbole_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recbole")
    try:
        wheel = source.RECBOLE_WHEEL.fetch(folder)
    except UnreachableError as error:
        pytest.skip(f"no package index here: {error}")
    with zipfile.ZipFile(wheel) as archive:
        (folder / "ml-100k").mkdir()
        for member, name in source.RECBOLE_WHEEL.members.items():
            (folder / "ml-100k" / name).write_bytes(archive.read(member))
    return folder


def test_the_copy_in_the_wheel_is_the_release(recbole_folder, shared_data):
    copy, original = source.load(recbole_folder), source.load(shared_data)
    for column in ("users", "items", "ratings", "timestamps"):
        assert np.array_equal(getattr(copy, column), getattr(original, column))
    assert copy.user_features.equals(original.user_features)
    assert copy.item_features.equals(original.item_features)


@pytest.fixture
def own_copy(shared_data, tmp_path):
    (tmp_path / "ml-100k").mkdir()
    for name in ("u.data", "u.item", "u.user"):
        shutil.copyfile(shared_data / "ml-100k" / name, tmp_path / "ml-100k" / name)
    return tmp_path


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("1\t2\tgood\t881250949", r"line 3: 'good' is not a valid rating"),
        ("1\tx\t3\t881250949", r"line 3: 'x' is not a valid item"),
        ("1\t2\t\t881250949", r"line 3: .* is not a valid rating"),
        ("1\t2\tnan\t881250949", r"line 3: 'nan' is not a valid rating"),
    ],
)
def test_a_line_that_does_not_parse_is_named(own_copy, broken, named):
    path = own_copy / "ml-100k" / "u.data"
    lines = path.read_text().splitlines()
    lines[2] = broken
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=rf"u\.data, {named}"):
        source.load(own_copy)


@pytest.mark.parametrize("content", ["", "1,2,3,4\n"])
def test_a_file_that_is_no_table_is_named(own_copy, content):
    (own_copy / "ml-100k" / "u.data").write_text(content)
    with pytest.raises(DataError, match=r"u\.data"):
        source.load(own_copy)


def test_another_sum_than_the_release_is_only_a_warning(own_copy, caplog):
    path = own_copy / "ml-100k" / "u.data"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with caplog.at_level(logging.WARNING):
        assert len(source.load(own_copy)) == 99_999
    assert "another sha256" in caplog.text


def test_without_network_or_files_the_three_places_are_named(tmp_path):
    # A process of its own, since pip's settings are taken from the environment.
    code = (
        "from pathlib import Path; import sys\n"
        "from lightning_collab.data.sources import ml_100k\n"
        "from lightning_collab.errors import DataError\n"
        "import socket\n"
        "def refuse(*a, **k): raise OSError('no network')\n"
        "socket.getaddrinfo = refuse\n"
        "try: ml_100k.load(Path(sys.argv[1]))\n"
        "except DataError as error: print(error)\n"
    )
    environment = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PATH": "/usr/bin"}
    environment |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_TIMEOUT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "root")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    for place in ("1. ", str(tmp_path / "root" / "ml-100k"), "2. https://files.grouplens.org"):
        assert place in done.stdout
    assert "3. the recbole==1.2.1 wheel" in done.stdout
    assert "u.data" in done.stdout
    assert [path.name for path in (tmp_path / "root").iterdir()] == [".ml-100k.lock"]

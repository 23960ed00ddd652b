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
    assert_same_folds(copy, original)


def assert_same_folds(one, other):
    assert list(one.parts) == list(other.parts) == ["u1", "u2", "u3", "u4", "u5", "ua", "ub"]
    for name, rows in one.parts.items():
        assert rows.dtype == other.parts[name].dtype == np.int32
        assert np.array_equal(rows, other.parts[name])


def test_the_fifths_are_disjoint_and_together_all_ratings(ml_100k):
    fifths = [ml_100k.parts[f"u{number}"] for number in range(1, 6)]
    assert [len(rows) for rows in fifths] == [20_000] * 5
    assert np.concatenate(fifths).tolist() == list(range(100_000))


def test_the_ten_of_each_user_are_the_first_and_the_next(ml_100k):
    seen = dict.fromkeys(range(1, 944), 0)
    rows = {"ua": [], "ub": []}
    for row, user in enumerate(ml_100k.users.tolist()):
        if seen[user] < 20:
            rows["ua" if seen[user] < 10 else "ub"].append(row)
        seen[user] += 1
    for fold, expected in rows.items():
        assert len(expected) == 943 * 10
        assert ml_100k.parts[fold].tolist() == expected


@pytest.mark.parametrize("fold", ["u1", "u2", "u3", "u4", "u5", "ua", "ub"])
def test_the_folds_without_their_files_are_those_of_the_files(own_copy, shared_data, fold):
    assert not (own_copy / "ml-100k" / f"{fold}.test").exists()
    rows = set(source.load(own_copy).parts[fold].tolist())
    lines = (own_copy / "ml-100k" / "u.data").read_text().splitlines()
    for part, expected in (("test", rows), ("base", set(range(100_000)) - rows)):
        in_file = (shared_data / "ml-100k" / f"{fold}.{part}").read_text().splitlines()
        assert {lines[row] for row in expected} == set(in_file)


@pytest.fixture
def package_copy(recbole_folder, tmp_path):
    shutil.copytree(recbole_folder / "ml-100k", tmp_path / "ml-100k")
    return tmp_path


def write_fold(root, fold, first, last):
    """A file of a fold with the ratings `first` to `last`, counted from 1."""
    lines = (root / "ml-100k" / "ml-100k.inter").read_text().splitlines()[first : last + 1]
    (root / "ml-100k" / f"{fold}.test").write_text("\n".join(lines) + "\n")


def test_a_file_of_a_fold_that_is_as_it_should_be_changes_nothing(package_copy):
    without = source.load(package_copy)
    write_fold(package_copy, "u3", 40_001, 60_000)
    assert_same_folds(source.load(package_copy), without)


@pytest.mark.parametrize(
    ("first", "last", "differing"), [(40_001, 59_999, 1), (40_002, 60_001, 2), (1, 20_000, 40_000)]
)
def test_a_file_of_a_fold_with_other_ratings_is_named(package_copy, first, last, differing):
    write_fold(package_copy, "u3", first, last)
    with pytest.raises(DataError, match=rf"u3\.test is not the test part .*: {differing} ratings"):
        source.load(package_copy)


def test_ratings_in_another_order_have_only_the_folds_of_their_files(package_copy, caplog):
    write_fold(package_copy, "u3", 40_001, 60_000)
    expected = sorted((package_copy / "ml-100k" / "u3.test").read_text().splitlines())
    path = package_copy / "ml-100k" / "ml-100k.inter"
    header, *lines = path.read_text().splitlines()
    lines.reverse()
    path.write_text("\n".join([header, *lines]) + "\n")
    with caplog.at_level(logging.WARNING):
        table = source.load(package_copy)
    assert "another sha256" in caplog.text
    assert "official folds, from files beside it: u3" in caplog.text
    assert list(table.parts) == ["u3"]
    assert sorted(lines[row] for row in table.parts["u3"]) == expected


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
        table = source.load(own_copy)
    assert len(table) == 99_999
    assert "another sha256" in caplog.text
    assert "official folds, from files beside it: none" in caplog.text
    assert table.parts == {}


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

"""Addresses of storages, their passwords, and their locks."""

import multiprocessing
import threading

import pytest

from lightning_collab.errors import ConfigError
from lightning_collab.runs.text import hidden
from lightning_collab.tuning.storage import StorageURL, StudyStorageError


def test_the_default_is_a_journal_in_the_sweep(tmp_path):
    address = StorageURL.parse(None, tmp_path)
    assert address.file == tmp_path / "study.log"
    assert address.open().get_all_studies() == []


def test_sqlite_files_are_opened_in_folders_that_are_made(tmp_path):
    address = StorageURL.parse(f"sqlite:///{tmp_path}/new/study.db", tmp_path)
    assert address.open().get_all_studies() == []
    assert address.file == tmp_path / "new" / "study.db"
    assert address.file.is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mysql://me@here/db", "mysql is not supported"),
        ("sqlite:///", "sqlite needs a file"),
        ("sqlite:///:memory:", "sqlite needs a file"),
        ("://", "is not a storage URL"),
    ],
)
def test_storages_that_cannot_be_shared_are_refused(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        StorageURL.parse(text, tmp_path)


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path):
    pytest.importorskip("psycopg")
    address = StorageURL.parse("postgresql://me:s3cret@127.0.0.1:1/db", tmp_path)
    with pytest.raises(StudyStorageError, match=r"127\.0\.0\.1") as raised:
        address.open()
    assert "s3cret" not in str(raised.value)
    assert "s3cret" not in str(address)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me@127.0.0.1:1/db?password=s3cret",
        "postgresql://me@127.0.0.1:1/db?sslmode=s3cret&sslpassword=s3cret",
    ],
)
def test_secrets_of_an_address_are_in_no_message(address, tmp_path):
    pytest.importorskip("psycopg")
    parsed = StorageURL.parse(address, tmp_path)
    with pytest.raises(StudyStorageError) as raised:
        parsed.open()
    said = f"{raised.value} {parsed}".replace("sslmode=s3cret", "")
    assert "s3cret" not in said


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "study.db").write_text("no database" * 100)
    with pytest.raises(StudyStorageError, match="cannot be used"):
        StorageURL.parse(f"sqlite:///{tmp_path}/study.db", tmp_path).open()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:a@b:c@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("/path/study.log", "/path/study.log"),
        (
            "postgresql://me@host/db?sslmode=require&password=a=b&sslpassword=c&options=x",
            "postgresql://me@host/db?sslmode=require&password=***&sslpassword=***&options=x",
        ),
        ("postgresql://me:a?b@host/db?TOKEN=x", "postgresql://me:***@host/db?TOKEN=***"),
        ("postgresql://me:a?password=b@host/db", "postgresql://me:***@host/db"),
    ],
)
def test_passwords_are_hidden(url, shown):
    assert hidden(url) == shown


def test_several_may_open_a_new_database_at_once(tmp_path):
    address = StorageURL.parse(f"sqlite:///{tmp_path}/study.db", tmp_path)
    context = multiprocessing.get_context("fork")
    begin = context.Barrier(4)

    def work():
        begin.wait(30)
        assert address.open().get_all_studies() == []

    processes = [context.Process(target=work) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


@pytest.mark.parametrize("kind", ["{0}/study.log", "sqlite:///{0}/study.db"])
def test_one_holds_the_lock_at_a_time(kind, tmp_path):
    address = StorageURL.parse(kind.format(tmp_path), tmp_path)
    inside = most = 0
    counted = threading.Lock()

    def work():
        nonlocal inside, most
        for _ in range(20):
            with address.claim_lock("study"):
                with counted:
                    inside += 1
                    most = max(most, inside)
                with counted:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1

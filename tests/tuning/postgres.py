"""A PostgreSQL server of one's own, for as long as a test runs."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "a:p@ss/word"


def _program(name: str) -> str:
    """A program of Debian's package, which is not on the path, or of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        pytest.skip(f"PostgreSQL's {name} is not installed (Debian: apt install postgresql)")
    return path


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """Start a server on a free port of this machine; gives its address with the password."""
    initdb, postgres = _program("initdb"), _program("postgres")
    # The server refuses to run as root: Debian's package has a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    folder.mkdir()
    password_file = folder.parent / "password"
    password_file.write_text(PASSWORD)
    if user is not None:
        shutil.chown(folder, user)
        shutil.chown(password_file, user)
        for parent in folder.parents:
            if parent.stat().st_uid == os.getuid() and parent.is_relative_to("/tmp/pytest-of-root"):
                parent.chmod(0o755)
    data = folder / "data"
    subprocess.run(
        [initdb, "-D", data, "-U", "tuner", "-A", "scram-sha-256", f"--pwfile={password_file}"],
        check=True,
        capture_output=True,
        user=user,
        cwd="/",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (folder.parent / "postgres.log").open("w")
    server = subprocess.Popen(
        [postgres, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"],
        stdout=log,
        stderr=log,
        user=user,
        cwd="/",
    )
    try:
        yield f"postgresql://tuner:a%3Ap%40ss%2Fword@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(30)
        log.close()

"""Studies on small storages, a server, and a config loader of Hydra's as a sweeper gets it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from support import CONF

from lightning_collab.tuning.composition import Composer
from lightning_collab.tuning.storage import StorageURL, StudyStorageError
from lightning_collab.tuning.sweep import register_resolvers


@pytest.fixture(scope="session")
def config_loader() -> ConfigLoaderImpl:
    """Hydra's, for conf/ of this repository."""
    register_resolvers()
    Plugins.instance()
    return ConfigLoaderImpl(create_config_search_path(str(CONF)))


@pytest.fixture
def composer(config_loader: ConfigLoaderImpl) -> Callable[..., Composer]:
    """Makes a composer of scripts/train.py with the overrides typed."""

    def make(*typed: str) -> Composer:
        master = config_loader.load_configuration("train", list(typed), RunMode.MULTIRUN)
        return Composer(config_loader, master, typed)

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The path of a journal file."""
    return tmp_path / "study.log"


@pytest.fixture(autouse=True)
def _quiet_and_clean() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    GlobalHydra.instance().clear()


def _postgres_program(name: str) -> str:
    """A program of Debian's package, which is not on the path, or of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        pytest.skip(f"PostgreSQL's {name} is not installed (Debian: apt install postgresql)")
    return path


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """The address, with its password, of a server that runs for one test."""
    pytest.importorskip("psycopg", reason="needs the extra: lightning-collab[postgresql]")
    initdb, postgres = _postgres_program("initdb"), _postgres_program("postgres")
    # The server refuses to run as root; Debian's package has a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    # Short, for the path of its socket, and open to that user.
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        password_file = folder / "password"
        password_file.write_text("a:p@ss/word")
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(password_file, user)
        data = folder / "data"
        made = [initdb, "-D", data, "-U", "tuner", "-A", "scram-sha-256"]
        subprocess.run(
            [*made, f"--pwfile={password_file}"],
            check=True,
            capture_output=True,
            user=user,
            cwd="/",
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [postgres, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"],
                stdout=log,
                stderr=log,
                user=user,
                cwd="/",
            )
            url = f"postgresql://tuner:a%3Ap%40ss%2Fword@127.0.0.1:{port}/postgres"
            try:
                _wait_for(url, server)
                yield url
            finally:
                # Fast shutdown: what is still connected is cut off.
                server.send_signal(signal.SIGINT)
                server.wait(30)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            StorageURL.parse(url, Path()).open()
            return
        except StudyStorageError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(0.2)

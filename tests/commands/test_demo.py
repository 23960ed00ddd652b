import shutil
import socket

import pytest
from hydra import compose, initialize_config_dir
from support import CONF

from lightning_collab.commands import use_a_run
from lightning_collab.commands.use_a_run import demo_command
from lightning_collab.demo import server
from lightning_collab.errors import CheckpointError, ConfigError, InspectionError


def config(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("demo", list(overrides))


@pytest.fixture
def path(film_run, monkeypatch):
    monkeypatch.setattr(use_a_run, "find_spec", lambda name: name)
    return film_run.directory.path


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_without_streamlit_the_extra_is_named(path, monkeypatch):
    monkeypatch.setattr(use_a_run, "find_spec", lambda name: None)
    needs = r"demo needs streamlit: pip install 'lightning-collab\[demo\]'"
    with pytest.raises(ConfigError, match=needs):
        demo_command(config(f"run={path}"))


def test_a_port_that_another_program_has_is_named(path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"^port: {port} cannot be listened on .*; set anot"):
            demo_command(config(f"run={path}", f"port={port}"))


@pytest.mark.parametrize("port", [0, 65536])
def test_a_port_that_there_cannot_be_is_refused(path, port):
    with pytest.raises(ConfigError, match="port"):
        demo_command(config(f"run={path}", f"port={port}"))


def test_a_run_must_be_named_and_know_what_its_users_rated(path, tmp_path):
    with pytest.raises(ConfigError, match="run: set run="):
        demo_command(config())
    shutil.copytree(path, tmp_path / "run")
    (tmp_path / "run" / "history.parquet").unlink()
    with pytest.raises(CheckpointError, match="history"):
        demo_command(config(f"run={tmp_path}/run"))


def test_a_server_that_does_not_start_is_said(path, port, tmp_path, monkeypatch):
    monkeypatch.setattr(server.sys, "executable", shutil.which("false"))
    with pytest.raises(InspectionError, match="Streamlit has not started"):
        demo_command(config(f"run={path}", f"port={port}"))


def test_nothing_is_sent_watched_or_shown_to_others():
    said = server.SETTINGS
    assert said["SERVER_ADDRESS"] == "127.0.0.1"
    assert said["BROWSER_GATHER_USAGE_STATS"] == "false"
    assert said["SERVER_FILE_WATCHER_TYPE"] == "none"
    assert said["CLIENT_TOOLBAR_MODE"] == "minimal"


def test_streamlit_knows_each_setting():
    options = pytest.importorskip("streamlit.config").get_config_options()
    known = {option.env_var for option in options.values()}
    assert {f"STREAMLIT_{name}" for name in server.SETTINGS} <= known

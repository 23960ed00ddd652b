import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from lightning_collab.commands.entry import command
from lightning_collab.errors import ConfigError


@pytest.fixture
def mode(monkeypatch, tmp_path):
    """Sets the mode that Hydra says it runs in."""

    def choose(mode):
        hydra = OmegaConf.create({"mode": mode, "runtime": {"output_dir": str(tmp_path / "run")}})
        monkeypatch.setattr(HydraConfig, "get", lambda: hydra)

    return choose


def raising(error):
    def task(config):
        raise error

    return command(task)


def test_ctrl_c_ends_with_a_word_and_its_exit_code(mode, capsys):
    mode(RunMode.RUN)
    with pytest.raises(SystemExit) as ended:
        raising(KeyboardInterrupt())(OmegaConf.create())
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped\n"


def test_an_error_for_the_user_is_one_message(mode):
    mode(RunMode.RUN)
    with pytest.raises(SystemExit) as ended:
        raising(ConfigError("data.root: nothing there"))(OmegaConf.create())
    assert ended.value.code == "error: data.root: nothing there"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConfigError("no such key")])
def test_in_a_sweep_hydra_is_told(mode, error):
    mode(RunMode.MULTIRUN)
    with pytest.raises(type(error)):
        raising(error)(OmegaConf.create())

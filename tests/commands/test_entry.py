import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from lightning_collab.commands.entry import command
from lightning_collab.errors import ConfigError, OutOfMemoryError


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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 120. GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    ],
)
def test_memory_that_ran_out_says_what_to_lower(mode, error):
    mode(RunMode.RUN)
    wrapped = ValueError("in a step")
    wrapped.__cause__ = error
    with pytest.raises(SystemExit) as ended:
        raising(wrapped)(OmegaConf.create())
    assert str(ended.value.code).startswith(f"error: memory ran out: {str(error)[:20]}")
    assert "Lower what it depends on: model.factors" in ended.value.code
    mode(RunMode.MULTIRUN)
    with pytest.raises(OutOfMemoryError):
        raising(wrapped)(OmegaConf.create())


def test_an_error_of_ours_keeps_its_traceback(mode):
    mode(RunMode.RUN)
    with pytest.raises(ValueError, match="a slip"):
        raising(ValueError("a slip"))(OmegaConf.create())


def test_an_argument_that_lightning_refuses_is_said_to_be_the_trainers(mode):
    def task(config):
        import pytorch_lightning as pl

        pl.Trainer(profiler="xla", logger=False)

    mode(RunMode.RUN)
    with pytest.raises(SystemExit, match=r"error: trainer: .*torch_xla"):
        command(task)(OmegaConf.create())


def test_a_step_beyond_float32_says_what_to_lower(mode):
    def task(config):
        torch.zeros(1).addcdiv_(torch.ones(1), torch.ones(1), value=1e300)

    mode(RunMode.RUN)
    with pytest.raises(SystemExit, match=r"error: a step is larger than .*; lower optimizer\.lr"):
        command(task)(OmegaConf.create())

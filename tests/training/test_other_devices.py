"""Precisions and devices that this machine does not have: what is refused, what is kept exact."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightning_collab.config.trainer import TrainerConfig
from lightning_collab.errors import ConfigError, TrainingError
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.training import parts
from lightning_collab.training.build import build_module, load_data
from lightning_collab.training.run import train
from lightning_collab.training.trainer import SafeCheckpointIO

SOLVED = ("least_squares_factors", "implicit_least_squares", "ease", "bayesian_factors")
OF_CHAIN = ("model.burn_in=1", "model.samples=2")


@pytest.mark.parametrize("precision", ["16-mixed", "16-true", "bf16-true"])
@pytest.mark.parametrize("model", SOLVED)
def test_equations_are_not_solved_in_16_bits(run_config, model, precision):
    trainer = "cpu" if precision == "bf16-true" else "gpu"
    with pytest.raises(ConfigError, match=rf"trainer\.precision={precision}: model={model} is"):
        run_config(f"model={model}", f"trainer={trainer}", f"trainer.precision={precision}")


@pytest.mark.parametrize("model", ["least_squares_factors", "bayesian_factors"])
def test_a_solver_keeps_all_digits_under_autocast(run_config, small_table, tmp_path, model):
    further = OF_CHAIN if model == "bayesian_factors" else ()
    weights = {}
    for precision in ("32-true", "bf16-mixed"):
        config = run_config(
            f"model={model}", "trainer.max_epochs=3", f"trainer.precision={precision}", *further
        )
        run = RunDirectory(tmp_path / precision)
        run.path.mkdir()
        train(config, run, data=load_data(config, small_table))
        weights[precision] = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    for name, exact in weights["32-true"].items():
        assert torch.equal(exact, weights["bf16-mixed"][name]), name


def test_sparse_gradients_are_refused_by_the_backend_that_the_device_has(run_config):
    sparse = ("optimizer=sgd", "optimizer.momentum=0", "optimizer.sparse=true")
    for backend in ("nccl", "null"):
        with pytest.raises(ConfigError, match="through NCCL add up dense gradients only"):
            run_config(
                *sparse,
                "optimizer.decay=per_row",
                "trainer=ddp",
                f"trainer.process_group_backend={backend}",
            )


def test_the_gpus_of_apple_are_done_without(monkeypatch, caplog):
    with pytest.raises(ValueError, match=r"trainer\.accelerator=mps: .* set trainer=cpu"):
        TrainerConfig(accelerator="mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with caplog.at_level("INFO"):
        assert parts.accelerator_of(TrainerConfig(accelerator="auto")) == "cpu"
    assert "no float64" in caplog.text
    assert parts.accelerator_of(TrainerConfig(accelerator="cpu")) == "cpu"


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: launch")]
)
def test_a_devices_error_while_saving_is_no_full_disk(tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(type(error), match="CUDA"):
        SafeCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_a_mean_in_few_bits_is_added_in_many(run_config, small_table):
    config = run_config("model=embedding_net", "model.output=linear")
    output = build_module(config, load_data(config, small_table)).model.output
    raw = torch.tensor([0.015, -1.5], dtype=torch.bfloat16)
    expected = raw.double() + output.mean_rating.double()
    assert output(raw).dtype == torch.float32
    assert output(raw).tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_loss_that_is_no_number_on_another_rank_stops_this_one_too(
    run_config, small_table, monkeypatch
):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    config = run_config()
    module = build_module(config, load_data(config, small_table))
    module._loss_sum, module._rows_seen = torch.tensor(3.0, dtype=torch.float64), 4
    others = torch.tensor([np.nan, 4.0], dtype=torch.float64)
    strategy = SimpleNamespace(reduce=lambda sums, reduce_op: sums + others)
    module._trainer = SimpleNamespace(
        world_size=2, strategy=strategy, global_step=1, current_epoch=0
    )
    with pytest.raises(TrainingError, match="no longer a number"):
        module._stop_if_diverged()
    others[0] = 2.0
    module._stop_if_diverged()

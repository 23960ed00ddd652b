"""Every argument of Lightning's Trainer does what Lightning says, whatever takes the steps."""

import inspect
import math
from datetime import timedelta

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    DeviceStatsMonitor,
    GradientAccumulationScheduler,
    LambdaCallback,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)

from lightning_collab.config.engine import TrainingConfig
from lightning_collab.config.trainer import NOT_ARGUMENTS, TrainerConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.errors import ConfigError
from lightning_collab.models import DatasetStatistics, build_model
from lightning_collab.training.modules.rating_module import RatingModule

BATCHES = 30
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


class Counted(pl.Callback):
    """What happened, as Lightning tells it."""

    takes_blocks = True

    def __init__(self):
        self.validations = []
        self.epochs = 0

    def on_validation_end(self, trainer, module):
        if not trainer.sanity_checking:
            self.validations.append(module.steps_done)

    def on_train_epoch_end(self, trainer, module):
        self.epochs += 1


@pytest.fixture
def fit(small_table, run_config):
    """Train two epochs (unless told otherwise) under a stock Trainer."""
    config = run_config("model.factors=4", "data.batch_size=16", "optimizer.lr=0.02")

    def run(engine="auto", callbacks=(), resume=None, subclass=RatingModule, **arguments):
        torch.manual_seed(0)
        data = RatingDataModule(small_table, batch_size=16, split=config.split, seed=3)
        module = subclass(
            build_model(config.model, DatasetStatistics.of(data)),
            optimizer=config.optimizer,
            scheduler=config.scheduler,
            training=TrainingConfig(engine=engine),
        )
        counted = Counted()
        given = {"max_epochs": 2, "precision": "64-true", **QUIET, **arguments}
        trainer = pl.Trainer(**given, callbacks=[counted, *callbacks])
        trainer.fit(module, datamodule=data, ckpt_path=resume)
        return module, counted

    return run


def weights(module):
    return {name: value.double() for name, value in module.model.state_dict().items()}


def assert_same_weights(one, two):
    for name, value in weights(one).items():
        torch.testing.assert_close(value, weights(two)[name], atol=1e-9, rtol=0)


# What takes the steps under `auto`: (arguments, engine, whether in blocks, steps, validations).
EPOCH_ENDS = [BATCHES, 2 * BATCHES]
BLOCKS = {
    "max_epochs": {"max_epochs": 2},
    "min_epochs": {"min_epochs": 1},
    "max_time": {"max_time": timedelta(hours=1)},
    "limit_val_batches": {"limit_val_batches": 1},
    "limit_test_batches": {"limit_test_batches": 1},
    "limit_predict_batches": {"limit_predict_batches": 1},
    "num_sanity_val_steps": {"num_sanity_val_steps": 2},
    "deterministic": {"deterministic": True},
    "benchmark": {"benchmark": False},
    "inference_mode": {"inference_mode": False},
    "use_distributed_sampler": {"use_distributed_sampler": True},
    "profiler": {"profiler": "simple"},
    "precision": {"precision": "64-true"},
    "accelerator": {"accelerator": "cpu"},
    "strategy": {"strategy": "auto"},
    "devices": {"devices": 1},
    "num_nodes": {"num_nodes": 1},
    "log_every_n_steps": {"log_every_n_steps": 3},
    "sync_batchnorm": {"sync_batchnorm": True},
    "reload_dataloaders_every_n_epochs": {"reload_dataloaders_every_n_epochs": 1},
    "enable_progress_bar": {"enable_progress_bar": False},
    "enable_model_summary": {"enable_model_summary": True},
    "enable_autolog_hparams": {"enable_autolog_hparams": False},
    "model_registry": {"model_registry": None},
    "plugins": {"plugins": []},
}
SINGLE = {
    "max_steps": ({"max_steps": 40}, 40, [BATCHES]),
    "min_steps": ({"min_steps": 40}, 60, EPOCH_ENDS),
    "limit_train_batches": ({"limit_train_batches": 7}, 14, [7, 14]),
    "a share of the batches": ({"limit_train_batches": 0.5}, 30, [15, 30]),
    "fast_dev_run": ({"fast_dev_run": 3}, 3, [3]),
    "val_check_interval": ({"val_check_interval": 10}, 60, [10, 20, 30, 40, 50, 60]),
    "a share of the epoch": ({"val_check_interval": 0.5}, 60, [15, 30, 45, 60]),
    "overfit_batches": ({"overfit_batches": 2}, 4, [2, 4]),
}
AUTOGRAD = {
    "accumulate_grad_batches": ({"accumulate_grad_batches": 4}, 2 * math.ceil(BATCHES / 4)),
    "gradient_clip_val": ({"gradient_clip_val": 0.001}, 60),
    "gradient_clip_algorithm": (
        {"gradient_clip_val": 0.0001, "gradient_clip_algorithm": "value"},
        60,
    ),
    "detect_anomaly": ({"detect_anomaly": True}, 60),
}


def test_the_data_has_so_many_batches(fit):
    module, counted = fit()
    assert module.steps_per_epoch == BATCHES
    assert (module.steps_done, counted.validations) == (2 * BATCHES, EPOCH_ENDS)


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_not_about_single_steps_leaves_them_in_blocks(fit, name):
    module, counted = fit(**BLOCKS[name])
    assert (module.choice.engine, module.choice.blocks) == ("fused", True)
    assert module.steps_done == 2 * BATCHES
    assert module.global_step < module.steps_done, "Lightning counts blocks"
    assert counted.validations == EPOCH_ENDS
    assert_same_weights(module, fit("eager", **BLOCKS[name])[0])


@pytest.mark.parametrize("name", SINGLE)
def test_what_counts_steps_sees_each_of_them(fit, name):
    arguments, steps, validations = SINGLE[name]
    taken = {engine: fit(engine, **arguments) for engine in ("auto", "fused", "eager")}
    for engine, (module, counted) in taken.items():
        assert module.choice.engine == ("eager" if engine == "eager" else "fused")
        assert not module.choice.blocks
        assert module.steps_done == module.global_step == steps
        assert counted.validations == validations
        assert_same_weights(module, taken["eager"][0])
    assert "one step at a time" in taken["auto"][0].choice.reason


@pytest.mark.parametrize("name", AUTOGRAD)
def test_what_is_about_gradients_is_left_to_autograd(fit, name):
    arguments, steps = AUTOGRAD[name]
    module, counted = fit(**arguments)
    assert module.choice.engine == "eager"
    assert module.steps_done == module.global_step == steps
    assert len(counted.validations) == 2
    assert_same_weights(module, fit("eager", **arguments)[0])
    with pytest.raises(ConfigError, match=r"training.engine=fused: .*training.engine=eager"):
        fit("fused", **arguments)
    if name != "detect_anomaly":
        plain, _ = fit()
        moved = [not torch.equal(weights(plain)[k], v) for k, v in weights(module).items()]
        assert any(moved), "the argument changes what is trained"


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_other_precisions_are_left_to_autograd(fit, precision):
    module, _ = fit(precision=precision)
    assert (module.choice.engine, module.steps_done) == ("eager", 60)
    with pytest.raises(ConfigError, match=f"no fused kernels for trainer.precision={precision}"):
        fit("fused", precision=precision)


def test_epochs_between_validations(fit):
    module, counted = fit(max_epochs=4, check_val_every_n_epoch=2)
    assert module.choice.blocks
    assert counted.validations == [60, 120]


def test_validation_by_steps_over_epochs(fit):
    module, counted = fit(check_val_every_n_epoch=None, val_check_interval=25)
    assert (module.choice.engine, module.choice.blocks) == ("fused", False)
    assert counted.validations == [25, 50]


def test_the_longest_time_ends_a_run_after_a_block(fit):
    module, _ = fit(max_epochs=100_000, max_time=timedelta(seconds=1))
    assert module.choice.blocks
    assert module.steps_done % BATCHES == 0
    assert 0 < module.steps_done < 100_000 * BATCHES


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_barebones_is_the_loop_alone(engine, fit, monkeypatch):
    for key in ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"):
        monkeypatch.delitem(QUIET, key)
    # Lightning refuses callbacks that would be called beside the loop only where they are its own.
    module, _ = fit(engine, barebones=True)
    assert (module.choice.blocks, module.steps_done) == (engine == "fused", 60)


def test_checkpoints_every_so_many_steps(fit, tmp_path):
    every = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=25, save_top_k=-1)
    module, _ = fit(callbacks=[every], enable_checkpointing=True)
    assert not module.choice.blocks
    assert {path.name for path in tmp_path.iterdir()} == {"step=25.ckpt", "step=50.ckpt"}
    content = torch.load(tmp_path / "step=25.ckpt", weights_only=True)
    assert content["steps_done"] == content["global_step"] == 25


@pytest.mark.parametrize(
    "callback",
    [
        LearningRateMonitor("step"),
        DeviceStatsMonitor(),
        LambdaCallback(on_train_batch_end=lambda *_: None),
        WeightAveraging(),
    ],
    ids=lambda each: type(each).__name__,
)
def test_callbacks_that_look_at_steps_see_each(fit, callback, tmp_path):
    logger = pl.loggers.CSVLogger(tmp_path)
    module, _ = fit(callbacks=[callback], logger=logger)
    assert (module.choice.engine, module.choice.blocks) == ("fused", False)
    assert type(callback).__name__ in module.choice.reason


class SeesGradients(pl.Callback):
    def __init__(self):
        self.norms = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.norms.append(float(module.model.user_factors.weight.grad.norm()))


def test_callbacks_that_look_at_gradients_see_each(fit):
    seen = SeesGradients()
    module, _ = fit(callbacks=[seen])
    assert module.choice.engine == "eager"
    assert len(seen.norms) == 60
    assert all(norm > 0 for norm in seen.norms)


@pytest.mark.parametrize(
    "callback",
    [GradientAccumulationScheduler({1: 2}), StochasticWeightAveraging(swa_lrs=0.01)],
    ids=lambda each: type(each).__name__,
)
def test_callbacks_that_change_the_training_get_autograd(fit, callback):
    module, _ = fit(callbacks=[callback])
    assert module.choice.engine == "eager"
    assert type(callback).__name__ in module.choice.reason


def test_a_module_with_steps_of_its_own_gets_autograd(fit):
    class Doubled(RatingModule):
        def training_step(self, batch, batch_idx):
            return 2 * super().training_step(batch, batch_idx)

    module, _ = fit(subclass=Doubled)
    assert module.choice.engine == "eager"
    assert "Doubled has a training_step of its own" in module.choice.reason


def test_loaders_without_a_data_module_are_trained_on(fit, small_table, run_config):
    expected, _ = fit()
    config = run_config("data.batch_size=16")
    data = RatingDataModule(small_table, batch_size=16, split=config.split, seed=3)
    module = RatingModule(
        expected.model,
        optimizer=expected.optimizer_config,
        scheduler=expected.scheduler_config,
        rating_range=(1.0, 5.0),
        vocabularies={"users": data.user_vocabulary, "items": data.item_vocabulary},
    )
    trainer = pl.Trainer(max_epochs=2, precision="64-true", **QUIET)
    trainer.fit(module, data.train_dataloader(), data.val_dataloader())
    assert not module.choice.blocks
    assert (module.steps_per_epoch, module.steps_done) == (BATCHES, 60)


def test_another_trainer_begins_at_the_first_step(fit, small_table):
    module, _ = fit()
    data = RatingDataModule(small_table, batch_size=16, seed=3)
    again = pl.Trainer(max_epochs=1, precision="64-true", **QUIET)
    again.fit(module, datamodule=RatingDataModule(small_table, batch_size=16, seed=3))
    assert module.steps_done == data.batches_per_epoch


def test_no_batch_at_all_is_no_step(fit):
    module, _ = fit(limit_train_batches=0)
    assert module.steps_done == 0


def test_every_argument_of_lightnings_trainer_is_a_key_or_has_an_answer():
    there = set(inspect.signature(pl.Trainer).parameters)
    assert there == (set(TrainerConfig.model_fields) & there) | set(NOT_ARGUMENTS)
    tried = {*BLOCKS, *(k for each in SINGLE.values() for k in each[0])}
    tried |= {k for each in AUTOGRAD.values() for k in each[0]}
    tried |= {"check_val_every_n_epoch", "barebones"}
    assert there - set(NOT_ARGUMENTS) == tried & there - set(NOT_ARGUMENTS)

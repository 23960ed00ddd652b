"""Modules from checkpoint files alone: of a stock Trainer, and of runs."""

import copy

import polars as pl
import pytest
import pytorch_lightning
import torch
from frames import QUICK, ratings_frame
from pytorch_lightning.callbacks import ModelCheckpoint

import lightning_collab as lc
from lightning_collab.errors import CheckpointError, ConfigError, TrainingError
from lightning_collab.runs.checkpoints import read_checkpoint

FEATURES = {
    "users": {"history": {"kind": "history"}},
    "time": {"by_month": {"of": "items", "days": 30}},
}


def stock(**settings):
    """A Trainer that knows nothing of us."""
    return pytorch_lightning.Trainer(
        **{"logger": False, "enable_progress_bar": False, "accelerator": "cpu", **settings}
    )


def module_data(batch_size=64, **settings):
    frame = ratings_frame()
    return lc.RatingDataModule.from_frame(
        frame, timestamp="time", batch_size=batch_size, **settings
    )


class Absolute(lc.PointwiseLoss):
    """Not registered."""

    def __call__(self, predicted, target):
        return (predicted - target).abs().sum()


CASES = {
    "dot_bias": lambda data: lc.RatingModule(lc.EmbeddingDotBias.for_data(data, factors=3)),
    "sgd": lambda data: lc.RatingModule(
        lc.MatrixProduct.for_data(data, factors=3),
        optimizer={"name": "sgd", "lr": 0.01, "momentum": 0.0},
        scheduler={"name": "one_cycle"},
        training={"row_updates": "lazy"},
    ),
    "net": lambda data: lc.RatingModule(lc.EmbeddingNet.for_data(data, hidden=4), clip=0.5),
    "least_squares": lambda data: lc.LeastSquaresModule(lc.LeastSquaresFactors.for_data(data)),
    "bayesian": lambda data: lc.BayesianModule(
        lc.BayesianFactors.for_data(data, factors=2, burn_in=1)
    ),
}


def trained(data, module, path):
    """The module after two epochs under a stock Trainer, and the file that it left."""
    file = ModelCheckpoint(path, monitor="val/rmse")
    stock(max_epochs=2, callbacks=[file]).fit(module, datamodule=data)
    return file.best_model_path


def predictions(module, data):
    module.eval()
    batch = next(iter(data.whole_batches(data.rows.test)))
    with torch.no_grad():
        return module(batch)


@pytest.mark.parametrize("with_features", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_of_a_stock_trainer(case, with_features, tmp_path):
    solved = case in ("least_squares", "bayesian")
    if with_features and case in ("sgd", "least_squares"):
        pytest.skip("knows ids alone")
    features = FEATURES if with_features else None
    data = module_data("full" if solved else 64, features=features)
    module = CASES[case](data)
    path = trained(data, module, tmp_path)
    module.load_state_dict(read_checkpoint(path := type(tmp_path)(path))["state_dict"])
    before = torch.get_rng_state()
    loaded = type(module).load_from_checkpoint(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(predictions(loaded, data), predictions(module, data))
    assert loaded.vocabularies == module.vocabularies
    assert loaded.rating_range == (1.0, 5.0)
    # Measured by any trainer, from the module or from the file.
    (measured,) = stock().test(loaded, datamodule=data, verbose=False)
    fresh = CASES[case](data)
    (again,) = stock().test(fresh, datamodule=data, ckpt_path=path, verbose=False)
    assert measured == again
    assert stock().validate(loaded, data, verbose=False)[0]["val/rmse"] > 0
    if not solved:
        assert loaded.optimizer_config == module.optimizer_config
        assert loaded.scheduler_config == module.scheduler_config
        assert loaded.training_config == module.training_config
        assert loaded.clip == module.clip
        assert loaded.config == module.config


def test_training_goes_on_from_it(tmp_path):
    data = module_data()
    torch.manual_seed(0)
    start = CASES["dot_bias"](data)
    whole = copy.deepcopy(start)
    stock(max_epochs=3).fit(whole, datamodule=data)
    file = ModelCheckpoint(tmp_path, save_last=True)
    module = copy.deepcopy(start)
    stock(max_epochs=2, callbacks=[file]).fit(module, datamodule=data)
    loaded = lc.RatingModule.load_from_checkpoint(tmp_path / "last.ckpt")
    stock(max_epochs=3).fit(loaded, datamodule=data, ckpt_path=tmp_path / "last.ckpt")
    assert loaded.steps_done == whole.steps_done
    # The schedule of the first two epochs did not know of a third, and it is the same for all that.
    for one, other in zip(loaded.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_of_a_run(frame):
    run = lc.train(
        frame,
        factors=4,
        overrides={**QUICK, "optimizer": "sgd", "trainer.gradient_clip_val": 2.0, "seed": 5},
    )
    module = lc.RatingModule.load_from_checkpoint(run.checkpoint)
    assert module.optimizer_config.name == "sgd"
    assert module.clip == 2.0
    assert module.config["seed"] == 5
    (measured,) = stock().test(module, datamodule=run.data, verbose=False)
    assert measured["test/rmse"] == run.metrics["test/rmse"]


def test_a_loss_that_nobody_has_registered_is_given_again(tmp_path):
    data = module_data()
    module = lc.RatingModule(lc.EmbeddingDotBias.for_data(data, factors=3), Absolute())
    path = trained(data, module, tmp_path)
    with pytest.raises(ConfigError, match=r"'Absolute' is not known[\s\S]*optimizer="):
        lc.RatingModule.load_from_checkpoint(path)
    loaded = lc.RatingModule.load_from_checkpoint(path, loss=Absolute())
    assert isinstance(loaded.loss, Absolute)
    assert stock().validate(loaded, datamodule=data, verbose=False)[0]["val/loss"] > 0


def test_settings_that_are_given_win(tmp_path):
    data = module_data()
    path = trained(data, CASES["dot_bias"](data), tmp_path)
    loaded = lc.RatingModule.load_from_checkpoint(path, optimizer={"name": "sgd"}, clip=1.0)
    assert loaded.optimizer_config.name == "sgd"
    assert loaded.clip == 1.0


def test_what_cannot_be_loaded(tmp_path):
    data = module_data("full")
    path = trained(data, CASES["least_squares"](data), tmp_path)
    with pytest.raises(CheckpointError, match=r"use LeastSquaresModule\.load_from_checkpoint"):
        lc.RatingModule.load_from_checkpoint(path)
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        lc.RatingModule.load_from_checkpoint(tmp_path / "none.ckpt")
    harmful = tmp_path / "harmful.ckpt"
    torch.save({"state_dict": {}, "vocabularies": {}, "config": print}, harmful)
    with pytest.raises(CheckpointError, match="could run code"):
        lc.RatingModule.load_from_checkpoint(harmful)


def test_data_of_other_ids_is_refused(tmp_path):
    data = module_data()
    path = trained(data, CASES["dot_bias"](data), tmp_path)
    other = lc.RatingDataModule.from_frame(ratings_frame().with_columns(pl.col("item") + 1))
    message = (
        "the model belongs to other data: it knows 20 items, the training part here has 20, and"
    )
    with pytest.raises(TrainingError, match=message):
        stock().validate(lc.RatingModule.load_from_checkpoint(path), datamodule=other)


@pytest.mark.parametrize("clip", [0.0, -0.5])
def test_a_norm_to_clip_to_is_above_zero(clip):
    model = lc.EmbeddingNet.for_data(module_data(), hidden=4)
    with pytest.raises(ConfigError, match=r"clip: .*greater than 0"):
        lc.RatingModule(model, clip=clip)


@pytest.mark.parametrize("case", ["least_squares", "bayesian"])
def test_a_solved_model_wants_all_ratings_at_once(case):
    data = module_data(64)
    with pytest.raises(ConfigError, match=r'in 5 batches; make it with batch_size="full"'):
        stock(max_epochs=1).fit(CASES[case](data), datamodule=data)


def test_settings_in_python_are_checked():
    data = module_data()
    with pytest.raises(ConfigError, match=r"model\.factor: unknown key; did you mean 'factors'"):
        lc.EmbeddingDotBias.for_data(data, factor=3)
    model = lc.EmbeddingDotBias.for_data(data, factors=3)
    with pytest.raises(ConfigError, match=r"optimizer\.lrr: unknown key; did you mean 'lr'"):
        lc.RatingModule(model, optimizer={"name": "adam", "lrr": 1})
    assert model.config.factors == 3
    assert len(model.user_factors.weight) == 31

"""What validation and test measure, whatever trains the model."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from lightning_collab.training.build import build_module, load_data

FAR = 50.0
MODELS = {
    "gradient": ("model=embedding_dot_bias", "model.output=linear"),
    "least squares": ("model=least_squares_factors",),
    "sampling": ("model=bayesian_factors",),
}


@pytest.fixture(params=MODELS)
def far_off(request, run_config, small_table):
    """A module that predicts far above the scale for every second user, far below for others."""
    config = run_config("trainer=cpu", *MODELS[request.param])
    data = load_data(config, small_table)
    module = build_module(config, data)
    bias = module.model.lookup_tables()["biases"]["users"].weight
    with torch.no_grad():
        bias[:, 0] = torch.where(torch.arange(len(bias)) % 2 == 0, FAR, -FAR)
    return module, data


def trainer():
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def errors(data, rows):
    """Of predictions at the end of the scale that is nearest to them."""
    columns = data.columns(rows)
    assert columns.users.all(), "the row of unknown users is no row of its own"
    return np.where(columns.users % 2 == 0, 5.0, 1.0) - columns.ratings


def test_validation_measures_predictions_clamped_to_the_scale(far_off):
    module, data = far_off
    (measured,) = trainer().validate(module, datamodule=data, verbose=False)
    off = errors(data, data.rows.val)
    assert measured["val/rmse"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-5)
    assert measured["val/mae"] == pytest.approx(np.abs(off).mean(), rel=1e-5)
    assert measured["val/loss"] > (FAR - 10) ** 2, "the loss is that of training, not clamped"


def test_the_test_measures_predictions_clamped_to_the_scale(far_off):
    module, data = far_off
    (measured,) = trainer().test(module, datamodule=data, verbose=False)
    off = errors(data, data.rows.test)
    assert measured["test/rmse"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-5)
    assert measured["test/mae"] == pytest.approx(np.abs(off).mean(), rel=1e-5)

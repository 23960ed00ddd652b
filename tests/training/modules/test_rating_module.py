"""What validation and test measure, whatever trains the model."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

import lightning_collab
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


QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def trainer():
    return pl.Trainer(**QUIET)


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


class Seen(lightning_collab.PointwiseLoss):
    """Squared error that notes what it is given."""

    name = "seen"

    def __init__(self, of):
        super().__init__(lightning_collab.SquaredError().config)
        self.of = of
        self.given = []

    def __call__(self, predicted, target):
        self.given.append((predicted.detach().clone(), target))
        return (predicted - target).square().sum()


@pytest.mark.parametrize("of", ["ratings", "scores"])
@pytest.mark.parametrize("kind", ["EmbeddingDotBias", "EmbeddingNet"])
def test_a_loss_compares_ratings_or_raw_scores_as_it_says(small_table, of, kind):
    data = lightning_collab.RatingDataModule(small_table, batch_size="full", seed=3)
    model = getattr(lightning_collab, kind).for_data(data, factors=4, init_range=0.4)
    loss = Seen(of)
    module = lightning_collab.RatingModule(
        model, loss, training={"engine": "eager"}, optimizer={"name": "sgd", "lr": 1e-9}
    )
    one = pl.Trainer(max_epochs=1, num_sanity_val_steps=0, **QUIET)
    one.fit(module.eval(), datamodule=data)
    for given, target in loss.given:
        low, high = 1.0 - model.config.range_margin, 5.0 + model.config.range_margin
        inside = (given > low) & (given < high)
        assert bool(inside.all()) == (of == "ratings")
        assert len(given) == len(target)
    assert len(loss.given) == 2, "once in training and once in validation"

"""Runs on the made-up films with any model, whose weights are drawn and not trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

import lightning_collab
from lightning_collab.config.model import Model
from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import BayesianFactors, DatasetStatistics, build_model

MODELS = {
    "embedding_dot_bias": ("model=embedding_dot_bias", "model.factors=4"),
    "linear_dot_bias": ("model=embedding_dot_bias", "model.factors=4", "model.output=linear"),
    "embedding_net": ("model=embedding_net", "model.factors=4", "model.hidden=5"),
    "matrix_product": ("model=matrix_product", "model.factors=4"),
    "least_squares_factors": ("model=least_squares_factors", "model.factors=4"),
    "bayesian_factors": ("model=bayesian_factors", "model.factors=3", "model.samples=4"),
}


@pytest.fixture(scope="session")
def trained(film_run):
    """The run on made-up films, loaded."""
    return lightning_collab.load(film_run.directory.path)


@pytest.fixture(scope="session")
def run_of(trained, run_config):
    """The same users, items and ratings with another model, whose weights are drawn at random."""

    def made(name, **statistics):
        config = run_config(*MODELS[name]).model_dump(mode="json")["model"]
        torch.manual_seed(3)
        known = DatasetStatistics(
            user_rows=len(trained.user_vocabulary),
            item_rows=len(trained.item_vocabulary),
            rating_range=trained.rating_range,
            mean_rating=3.4,
            **statistics,
        )
        model = build_model(TypeAdapter(Model).validate_python(config), known)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(0.5 * torch.randn_like(parameter))
            for effect in model.time_effects:
                effect.table.weight[0] = 0  # of days that are not known
        model.fill_unknown_rows()
        if isinstance(model, BayesianFactors):
            _draw_samples(model)
        changed = replace(
            trained,
            model=model.eval().requires_grad_(False),
            config={**trained.config, "model": config},
        )
        assert changed.item_scores is not trained.item_scores
        return changed

    return made


def _draw_samples(model):
    """Three samples, and tables that hold their means, as the sampler leaves them."""
    count = 3
    model.kept.fill_(count)
    for samples, factors, bias in (
        (model.user_samples, model.user_factors, model.user_bias),
        (model.item_samples, model.item_factors, model.item_bias),
    ):
        samples[:count] = 0.5 * torch.randn_like(samples[:count])
        with torch.no_grad():
            factors.weight.copy_(samples[:count].mean(0)[:, 1:])
            bias.weight.copy_(samples[:count].mean(0)[:, :1])
    model.user_noise.fill_(1.0)
    model.item_noise.fill_(1.5)
    model.noise_variance.fill_(0.7)


def ratings_of_all_items(run, user_row):
    """The slow way: the model itself, for one user and every known item."""
    items = torch.arange(1, len(run.item_vocabulary), dtype=torch.int32)
    users = torch.full_like(items, user_row)
    return run.model(RatingBatch(users, items, users.float())).numpy().astype(np.float64)

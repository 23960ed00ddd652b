"""Scores of all items, by the fast ways and by the model itself."""

import numpy as np
import pytest
import torch

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import DatasetStatistics, build_model
from lightning_collab.models.bayesian_factors import Sample

USERS, ITEMS, FACTORS = 6, 5, 3


def built(run_config, name):
    config = run_config(f"model={name}")
    torch.manual_seed(1)
    model = build_model(config.model, DatasetStatistics(USERS, ITEMS, (1.0, 5.0), 3.5)).eval()
    for table in model.parameters():
        torch.nn.init.normal_(table)
    if name == "bayesian_factors":
        random = np.random.default_rng(0)
        width = 1 + model.config.factors
        for sweep in range(model.config.burn_in, model.config.burn_in + 3):
            draws = {"users": (USERS, width), "items": (ITEMS, width)}
            factors = {side: random.normal(size=shape) for side, shape in draws.items()}
            covariances = {f"{side}_covariance": np.eye(width) for side in ("user", "item")}
            noise = {"user_noise": np.ones(USERS), "item_noise": np.ones(ITEMS)}
            drawn = Sample(
                **factors, effects=np.empty(0), **covariances, noise_variance=1.0, **noise
            )
            model.take(drawn, sweep)
    return model


@pytest.mark.parametrize(
    "name",
    [
        *("embedding_dot_bias", "matrix_product", "embedding_net", "bayesian_factors"),
        "implicit_least_squares",
    ],
)
@torch.no_grad()
def test_the_ratings_of_all_pairs_in_any_order_of_users(run_config, name):
    model = built(run_config, name)
    scores = model.item_scores()
    assert scores.items == ITEMS - 1
    users, items = np.divmod(np.arange(USERS * ITEMS, dtype=np.int32), ITEMS)
    batch = RatingBatch(*map(torch.from_numpy, (users, items)), torch.zeros(len(users)))
    expected = model(batch).view(USERS, ITEMS)[:, 1:]
    rows = torch.tensor([4, 1, 4, 0], dtype=torch.int32)
    for asked in (slice(1, 5), rows):
        memory = torch.empty(4, ITEMS - 1)
        found = scores.of_users(asked, memory)
        assert found.data_ptr() == memory.data_ptr()
        ratings = scores.ratings(found)
        torch.testing.assert_close(
            ratings, expected[asked if asked is not rows else rows.long()], rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(scores.of_users(asked), found)


@torch.no_grad()
def test_pairs_are_rated_as_blocks_are(run_config):
    scores = built(run_config, "embedding_dot_bias").item_scores()
    users, items = np.array([0, 3, 5], np.int32), np.array([1, 4, 2], np.int32)
    of_blocks = scores.ratings(scores.of_users(torch.from_numpy(users)))
    expected = of_blocks[torch.arange(3), torch.from_numpy(items).long() - 1]
    torch.testing.assert_close(scores.of_pairs(users, items), expected)


@pytest.mark.parametrize("name", ["embedding_dot_bias", "embedding_net"])
@torch.no_grad()
def test_scores_stay_where_the_tables_are(run_config, name):
    """The device `meta` refuses whatever is on another one."""
    scores = built(run_config, name).to("meta").item_scores()
    found = scores.of_users(torch.zeros(2, dtype=torch.int32, device="meta"))
    assert found.device.type == "meta"
    assert found.shape == (2, ITEMS - 1)

import math

import pytest
import torch

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import DatasetStatistics, EmbeddingDotBias, build_model


def test_the_formula_worked_by_hand(run_config):
    config = run_config("model.factors=2", "model.range_margin=0.5").model
    model = EmbeddingDotBias(config, DatasetStatistics(3, 3, (1.0, 5.0), 3.0))
    with torch.no_grad():
        model.user_factors.weight[2] = torch.tensor([0.5, -1.0])
        model.item_factors.weight[1] = torch.tensor([2.0, 0.25])
        model.user_bias.weight[2] = 0.1
        model.item_bias.weight[1] = -0.3
    rating = model(RatingBatch(torch.tensor([2]), torch.tensor([1]), torch.zeros(1)))
    raw = 0.5 * 2.0 - 1.0 * 0.25 + 0.1 - 0.3
    assert rating.item() == pytest.approx(0.5 + 5.0 / (1 + math.exp(-raw)))


def test_all_ratings_at_once_are_the_matrix_product(run_config):
    model = build_model(
        run_config("model=matrix_product", "model.factors=3").model,
        DatasetStatistics(4, 5, (1.0, 5.0), 3.0),
    )
    users, items = torch.cartesian_prod(torch.arange(4), torch.arange(5)).T
    ratings = model(RatingBatch(users, items, torch.zeros(20)))
    product = model.user_factors.weight @ model.item_factors.weight.T
    assert torch.allclose(ratings.view(4, 5), product)

import math

import pytest
import torch

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import DatasetStatistics, EmbeddingDotBias


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

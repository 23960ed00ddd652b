import torch

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import DatasetStatistics, build_model


def test_all_ratings_at_once_are_the_matrix_product(run_config):
    model = build_model(
        run_config("model=matrix_product", "model.factors=3").model,
        DatasetStatistics(4, 5, (1.0, 5.0), 3.0),
    )
    users, items = torch.cartesian_prod(torch.arange(4), torch.arange(5)).T
    ratings = model(RatingBatch(users, items, torch.zeros(20)))
    product = model.user_factors.weight @ model.item_factors.weight.T
    assert torch.allclose(ratings.view(4, 5), product)

import math

import pytest
import torch

from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import DatasetStatistics, EmbeddingNet


def net(run_config, *overrides):
    torch.manual_seed(0)
    config = run_config("model=embedding_net", "model.factors=2", "model.hidden=3", *overrides)
    return EmbeddingNet(config.model, DatasetStatistics(3, 3, (1.0, 5.0), 3.0))


def pair():
    return RatingBatch(torch.tensor([2]), torch.tensor([1]), torch.zeros(1), draw_seed=4)


def test_the_formula_worked_by_hand(run_config):
    model = net(run_config).eval()
    x = [*model.user_factors.weight[2].tolist(), *model.item_factors.weight[1].tolist()]
    rows = zip(model.hidden.weight.tolist(), model.hidden.bias.tolist(), strict=True)
    hidden = [max(0.0, sum(w * v for w, v in zip(row, x, strict=True)) + c) for row, c in rows]
    weights = model.last.weight[0].tolist()
    raw = sum(w * h for w, h in zip(weights, hidden, strict=True)) + model.last.bias.item()
    assert model(pair()).item() == pytest.approx(0.5 + 5.0 / (1 + math.exp(-raw)), rel=1e-5)


def test_dropout_acts_while_training_only(run_config):
    model = net(run_config, "model.hidden_dropout=0.5", "model.init_range=1")
    with torch.no_grad():
        model.hidden.bias.fill_(3.0)  # so that no unit is silenced by the ReLU
    model.train()
    drawn = {model(pair()._replace(draw_seed=seed)).item() for seed in range(20)}
    assert len(drawn) > 1
    model.eval()
    assert len({model(pair()._replace(draw_seed=seed)).item() for seed in range(20)}) == 1


def test_the_two_layers_draw_different_masks(run_config):
    model = net(run_config)
    x = torch.ones(64, 4)
    masks = [
        layer(x, pair()._replace(whole_size=64))
        for layer in (
            type(model.embedding_dropout)(0.5, stream=0),
            type(model.embedding_dropout)(0.5, stream=1),
        )
    ]
    assert not torch.equal(*masks)

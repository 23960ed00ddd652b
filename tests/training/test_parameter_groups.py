import pytest
import torch

from lightning_collab.errors import ConfigError
from lightning_collab.models import DatasetStatistics, build_model
from lightning_collab.training.optimizers import parameter_groups


def model_of(config):
    return build_model(config.model, DatasetStatistics(3, 3, (1.0, 5.0), 3.0))


def test_each_group_has_its_own_rate_and_decay(run_config):
    config = run_config(
        "model=embedding_net",
        "optimizer.lr=0.1",
        "optimizer.weight_decay=0.01",
        "optimizer.groups.embeddings.lr_scale=0.5",
        "optimizer.groups.output.weight_decay=0",
    )
    groups = parameter_groups(model_of(config), config.optimizer)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("embeddings", 0.05, 0.01),
        ("hidden", 0.1, 0.01),
        ("output", 0.1, 0.0),
    ]


def test_a_scale_of_zero_freezes_the_group(run_config):
    config = run_config("optimizer.groups.biases.lr_scale=0")
    model = model_of(config)
    parameter_groups(model, config.optimizer)
    assert not model.user_bias.weight.requires_grad
    assert model.user_factors.weight.requires_grad


def test_a_parameter_in_no_group_or_in_two_is_named(run_config):
    config = run_config()
    model = model_of(config)
    model.extra = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(ConfigError, match="parameter extra is in no group"):
        parameter_groups(model, config.optimizer)
    groups = type(model).parameter_groups(model)
    groups["biases"].append(model.extra)
    groups["embeddings"].append(model.extra)
    model.parameter_groups = lambda: groups
    with pytest.raises(ConfigError, match="parameter extra is in the groups embeddings, biases"):
        parameter_groups(model, config.optimizer)

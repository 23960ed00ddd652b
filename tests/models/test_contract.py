"""A model of others that breaks its contract is named before its first step."""

from typing import Literal

import pytest
import torch
from torch import nn

from lightning_collab.config.model import ModelConfig
from lightning_collab.config.registry import MODELS
from lightning_collab.errors import ConfigError
from lightning_collab.models import DatasetStatistics, EmbeddingTable, RatingModel, build_model
from lightning_collab.models.embedding_table import tables_drawn_later


class SumConfig(ModelConfig):
    group_names = ("embeddings",)
    name: Literal["sum"] = "sum"
    factors: int = 3


class Sum(RatingModel):
    config_class = SumConfig
    has_biases = False

    def __init__(self, config, statistics):
        super().__init__(config, statistics)
        self.user_factors = EmbeddingTable(statistics.user_rows, config.factors, 0.1)
        self.item_factors = EmbeddingTable(statistics.item_rows, config.factors, 0.1)
        self.register_buffer("mean", torch.tensor(statistics.mean_rating))

    def rate(self, rows, batch, effects=None):
        users, items = rows["embeddings"]
        return self.mean + (users * items).sum(1)


STATISTICS = DatasetStatistics(30, 20, (1.0, 5.0), 3.5)


def built(model):
    MODELS.register(model)
    return build_model(model.config_class(), STATISTICS)


def test_a_model_that_keeps_it_is_built_as_without_the_look_at_it():
    torch.manual_seed(1)
    expected = Sum(SumConfig(), STATISTICS).state_dict()
    torch.manual_seed(1)
    found = built(Sum).state_dict()
    assert all(found[name].equal(value) for name, value in expected.items())


def test_a_model_whose_tables_are_drawn_later_is_looked_at_too():
    MODELS.register(Sum)
    with tables_drawn_later():
        model = build_model(SumConfig(), STATISTICS)
    assert model.user_factors.weight.is_meta


class NoBiasTables(Sum):
    has_biases = True


class SmallTable(Sum):
    def __init__(self, config, statistics):
        super().__init__(config, statistics)
        self.item_factors = EmbeddingTable(7, config.factors, 0.1)


class PlainTable(Sum):
    def __init__(self, config, statistics):
        super().__init__(config, statistics)
        self.item_factors = nn.Embedding(statistics.item_rows, config.factors)


class FurtherLayer(Sum):
    def __init__(self, config, statistics):
        super().__init__(config, statistics)
        self.layer = nn.Linear(config.factors, 1)

    def parameter_groups(self):
        return {**super().parameter_groups(), "hidden": list(self.layer.parameters())}


class Column(Sum):
    def rate(self, rows, batch, effects=None):
        return super().rate(rows, batch)[:, None]


class Mean(Sum):
    def rate(self, rows, batch, effects=None):
        return super().rate(rows, batch).mean()


class Doubles(Sum):
    def rate(self, rows, batch, effects=None):
        return super().rate(rows, batch).double()


class Numbers(Sum):
    def rate(self, rows, batch, effects=None):
        return super().rate(rows, batch).tolist()


class NumberForABuffer(Sum):
    def __init__(self, config, statistics):
        super().__init__(config, statistics)
        self.start = statistics.mean_rating

    def rate(self, rows, batch, effects=None):
        return self.start + super().rate(rows, batch)


class Noise(Sum):
    def rate(self, rows, batch, effects=None):
        ratings = super().rate(rows, batch)
        return ratings + torch.randn_like(ratings)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (NoBiasTables, r"NoBiasTables\.lookup_tables: .*'user_bias'\. .* has_biases = False"),
        (SmallTable, r"lookup_tables: the table of items in embeddings .*statistics\.item_rows"),
        (PlainTable, r"PlainTable\.lookup_tables: the table of items .*an EmbeddingTable"),
        (FurtherLayer, r"FurtherLayer\.parameter_groups has embeddings, hidden, and SumConfig\.gr"),
        (Column, r"Column\.rate must return a tensor \[B\] .*; for 3 it gave \[3, 1\]"),
        (Mean, r"Mean\.rate must return a tensor \[B\] .* gave \[\]"),
        (Numbers, r"Numbers\.rate must return a tensor \[B\] .* gave list"),
        (Doubles, r"Doubles\.rate must return .* torch\.float32, and gave torch\.float64"),
        (NumberForABuffer, r"NumberForABuffer\.rate gives other ratings .*register_buffer"),
        (Noise, r"Noise\.rate gives other ratings .*batch\.draw_seed"),
    ],
)
def test_what_breaks_it_is_named_with_class_and_method(model, message):
    with pytest.raises(ConfigError, match=message):
        built(model)

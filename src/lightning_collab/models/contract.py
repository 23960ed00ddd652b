"""What a model of others must be: looked at once, on a small one, before any step is taken."""

from typing import Any

import torch

from lightning_collab.config.model import ModelConfig
from lightning_collab.config.optimizer import GroupsConfig
from lightning_collab.data.batches import RatingBatch
from lightning_collab.errors import ConfigError
from lightning_collab.models.embedding_table import EmbeddingTable, tables_drawn_later
from lightning_collab.models.rating_model import RatingModel
from lightning_collab.models.rating_output import DatasetStatistics

# Sizes of the small model, with the unknown rows.
USERS, ITEMS = 5, 4


def broken_by(model: type[RatingModel]) -> list[str]:
    """What a class says that only models of ours can say, a line each.

    Args:
        model: a subclass with a `config_class`.
    """
    config: type[ModelConfig] = model.config_class
    lines = []
    if model.trained_by != "gradient" or not config.by_gradient:
        lines.append(
            "it must be trained by gradient descent: solvers are for the built-in models only"
        )
    if config.fused:
        lines.append(
            f"{config.__name__}.fused must be False: the fused engine has kernels for the "
            "built-in models only"
        )
    unknown = [name for name in config.group_names if name not in GroupsConfig.model_fields]
    if unknown:
        lines.append(
            f"{config.__name__}.group_names has {', '.join(unknown)}; there are "
            f"{', '.join(GroupsConfig.model_fields)}"
        )
    return lines


def check_model(model_class: type[RatingModel], config: ModelConfig, scale: Any) -> None:
    """Build a small model of a class and look whether it does what `RatingModel` promises.

    Torch's random numbers continue as if nothing had happened.

    Args:
        model_class: of others.
        config: the `model` section.
        scale: lowest and highest rating.

    Raises:
        ConfigError: the message names the class, the method and what was expected.
    """
    name = model_class.__name__
    with torch.random.fork_rng(devices=[]), torch.no_grad(), tables_drawn_later(False):
        model = model_class(config, DatasetStatistics(USERS, ITEMS, scale, sum(scale) / 2))
        _check_tables(model, name)
        _check_groups(model, name, config)
        model.eval()
        rating = _rated(model, name)
        # As a checkpoint is loaded, which does not know the mean of the ratings.
        again = model_class(config, DatasetStatistics(USERS, ITEMS, scale, 0.0))
        again.load_state_dict(model.state_dict())
        if not torch.equal(rating, _rated(again.eval(), name)):
            raise ConfigError(
                f"{name}.rate gives other ratings when a checkpoint of it is loaded: what it needs "
                "beside its parameters must be a buffer, as in self.register_buffer('mean', "
                "torch.tensor(statistics.mean_rating)), and nothing may be drawn at random but "
                "from batch.draw_seed"
            )


def _check_tables(model: RatingModel, name: str) -> None:
    try:
        tables = model.lookup_tables()
    except AttributeError as error:
        raise ConfigError(
            f"{name}.lookup_tables: {error}. A model has the tables user_factors and item_factors, "
            "and user_bias and item_bias unless it says has_biases = False"
        ) from error
    for group, sides in tables.items():
        for side, rows in (("users", USERS), ("items", ITEMS)):
            table = sides.get(side)
            if not isinstance(table, EmbeddingTable) or len(table.weight) != rows:
                size = f"statistics.{side[:-1]}_rows"
                raise ConfigError(
                    f"{name}.lookup_tables: the table of {side} in {group} must be an "
                    f"EmbeddingTable of {size} rows, and is {table!r} where {size} is {rows}"
                )


def _check_groups(model: RatingModel, name: str, config: ModelConfig) -> None:
    found = {group for group, parameters in model.parameter_groups().items() if parameters}
    if found != set(config.group_names):
        raise ConfigError(
            f"{name}.parameter_groups has {', '.join(sorted(found))}, and "
            f"{type(config).__name__}.group_names says {', '.join(config.group_names)}"
        )


def _rated(model: RatingModel, name: str) -> torch.Tensor:
    """What it gives for three pairs, an unknown user and an unknown item among them."""
    users, items = torch.tensor([0, 1, 2], dtype=torch.int32), torch.tensor([1, 0, 2]).int()
    batch = RatingBatch(users, items, torch.ones(3))
    rating: Any = model.rate(model.embed(batch).rows, batch)
    if not isinstance(rating, torch.Tensor) or rating.shape != users.shape:
        what = list(rating.shape) if isinstance(rating, torch.Tensor) else type(rating).__name__
        raise ConfigError(
            f"{name}.rate must return a tensor [B] for a batch of B ratings; for 3 it gave {what}"
        )
    dtype = model.lookup_tables()["embeddings"]["users"].weight.dtype
    if rating.dtype != dtype:
        raise ConfigError(
            f"{name}.rate must return ratings in the format of its tables, {dtype}, and gave "
            f"{rating.dtype}"
        )
    return rating

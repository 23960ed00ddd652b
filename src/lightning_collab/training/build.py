"""From a config to its ratings and to the module that trains its model."""

from contextlib import nullcontext
from typing import Any

import psutil
import torch

from lightning_collab.config import RunConfig
from lightning_collab.config.model import LeastSquaresFactorsConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources import load_ratings
from lightning_collab.errors import DataError
from lightning_collab.models import BayesianFactors, RatingFacts, build_model
from lightning_collab.models.embedding_table import tables_drawn_later
from lightning_collab.training.engines.choice import gradient_module
from lightning_collab.training.least_squares_module import LeastSquaresModule
from lightning_collab.training.rating_module import RatingModule
from lightning_collab.training.schedules import Schedule

BYTES_AN_ENTRY = 16
"""Of a table under training: the entry, its gradient and two moments."""


def load_data(config: RunConfig, table: RatingTable | None = None) -> RatingDataModule:
    """The ratings that a config asks for, split.

    Args:
        config: of the run.
        table: the ratings of `config.data`, where they have been read before.

    Raises:
        DataError: they cannot be found or read, or the split leaves a part without rows.
    """
    data = config.data.model_copy(update={"batch_size": config.batch_size})
    table = load_ratings(config.data) if table is None else table
    return RatingDataModule(table, data, config.split, config.seed, config.features)


def build_module(
    config: RunConfig,
    data: RatingDataModule,
    *,
    schedule: Schedule | None = None,
    to_shard: bool = False,
) -> RatingModule:
    """The model for a table's users and items, in the module that trains it.

    Args:
        config: of the run.
        data: whose vocabularies give the tables their sizes.
        schedule: of the learning rate, in place of the config's; each step is then seen by itself.
        to_shard: the tables hold nothing yet, since a trainer will split them over ranks.
    """
    torch.manual_seed(config.seed)
    facts = RatingFacts(
        user_rows=len(data.user_vocabulary),
        item_rows=len(data.item_vocabulary),
        rating_range=data.table.rating_range,
        mean_rating=data.mean_rating,
        user_features=data.features.users,
        item_features=data.features.items,
        time_effects=data.features.time,
    )
    _check_memory(facts, config.model.factors)
    with tables_drawn_later() if to_shard else nullcontext():
        model = build_model(config.model, facts)
    measured: dict[str, Any] = {
        "rating_range": data.table.rating_range,
        "vocabularies": {"users": data.user_vocabulary, "items": data.item_vocabulary},
    }
    if isinstance(model, BayesianFactors):
        # Its kernels take a while to import.
        from lightning_collab.training.bayesian_module import BayesianModule

        return BayesianModule(model, config, features=data.features, **measured)
    if isinstance(config.model, LeastSquaresFactorsConfig):
        return LeastSquaresModule(model, config, **measured)
    steps = data.steps_per_epoch(config.trainer.limit_train_batches)
    return gradient_module(model, config, steps_per_epoch=steps, schedule=schedule, **measured)


def _check_memory(facts: RatingFacts, factors: int) -> None:
    """Refuse tables of features that cannot be trained here."""
    width = sum(block.matrix.shape[1] for block in (*facts.user_features, *facts.item_features))
    needed = width * (factors + 1) * BYTES_AN_ENTRY
    free = psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"features: more than memory allows: tables of {width:,} features by {factors} factors "
            f"need about {needed / 2**30:.1f} GiB with gradients and moments, and "
            f"{free / 2**30:.1f} GiB are free; leave blocks out, or lower model.factors"
        )

"""From a config to its ratings, and to the module that trains its model."""

from contextlib import nullcontext
from typing import Any, cast

import psutil
import torch

from lightning_collab.config import RunConfig
from lightning_collab.config.model import ModelConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources import load_ratings
from lightning_collab.errors import DataError
from lightning_collab.losses import build_loss
from lightning_collab.models import DatasetStatistics, build_model, random_numbers
from lightning_collab.models.embedding_table import tables_drawn_later
from lightning_collab.training.modules.base_module import BaseModule
from lightning_collab.training.modules.implicit_module import ImplicitModule
from lightning_collab.training.modules.least_squares_module import LeastSquaresModule
from lightning_collab.training.modules.rating_module import RatingModule
from lightning_collab.training.schedules import Schedule

# Of a table under training: the entry, its gradient and two moments.
BYTES_AN_ENTRY = 16


def load_data(config: RunConfig, table: RatingTable | None = None) -> RatingDataModule:
    """The ratings that a config asks for, split.

    Args:
        config: of the run.
        table: the ratings of `config.data`, where they have been read before.

    Raises:
        DataError: they cannot be found or read, or the split leaves a part without rows.
    """
    return RatingDataModule(
        load_ratings(config.data, split=config.split) if table is None else table,
        batch_size=config.batch_size,
        order=config.data.order,
        split=config.split,
        seed=config.seed,
        features=config.features,
        source=config.data,
    )


def build_module(
    config: RunConfig,
    data: RatingDataModule,
    *,
    schedule: Schedule | None = None,
    to_shard: bool = False,
) -> BaseModule:
    """The model for a table's users and items, in the module that trains it.

    Args:
        config: of the run.
        data: whose vocabularies give the tables their sizes.
        schedule: of the learning rate, in place of the config's; each step is then seen by itself.
        to_shard: the tables hold nothing yet, since a trainer will split them over ranks.
    """
    statistics = DatasetStatistics.of(data)
    _check_memory(statistics, config.model)
    with random_numbers, tables_drawn_later() if to_shard else nullcontext():
        torch.manual_seed(config.seed)
        model = build_model(config.model, statistics)
    of_run: dict[str, Any] = {
        "metrics": config.metrics.further,
        "config": config.model_dump(mode="json"),
        "rating_range": data.table.rating_range,
        "vocabularies": {"users": data.user_vocabulary, "items": data.item_vocabulary},
    }
    match model.trained_by:
        case "gibbs":
            # Its kernels take a while to import.
            from lightning_collab.training.modules.bayesian_module import BayesianModule

            of_run |= {"seed": config.seed, "threads": config.trainer.threads}
            return BayesianModule(cast(Any, model), features=data.features, **of_run)
        case "least_squares":
            return LeastSquaresModule(model, **of_run)
        case "implicit":
            return ImplicitModule(cast(Any, model), **of_run)
        case "gradient":
            # Where entries are clipped, or gradients are not ours, Lightning clips.
            by_norm = config.trainer.gradient_clip_algorithm != "value"
            return RatingModule(
                model,
                build_loss(config.loss),
                optimizer=config.optimizer,
                scheduler=config.scheduler,
                training=config.training,
                clip=config.trainer.gradient_clip_val if by_norm else None,
                schedule=schedule,
                **of_run,
            )


def _check_memory(statistics: DatasetStatistics, config: ModelConfig) -> None:
    """Refuse tables, of ids and of features, and squares of catalogs that do not fit here."""
    factors = config.factors
    width = sum(
        block.matrix.shape[1] for block in (*statistics.user_features, *statistics.item_features)
    )
    needed = width * (factors + 1) * BYTES_AN_ENTRY
    free = psutil.virtual_memory().available
    square = config.bytes_needed(statistics.item_rows - 1)
    if square > free:
        raise DataError(
            f"model={config.name}: a weight for each pair of {statistics.item_rows - 1:,} items "
            f"needs {square / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free; set "
            "model=implicit_least_squares or loss=softmax, or data.k_core to leave rare items out"
        )
    if needed > free:
        raise DataError(
            f"features: more than memory allows: tables of {width:,} features by {factors} factors "
            f"need about {needed / 2**30:.1f} GiB with gradients and moments, and "
            f"{free / 2**30:.1f} GiB are free; leave blocks out, or lower model.factors"
        )
    rows = statistics.user_rows + statistics.item_rows
    hidden = getattr(config, "hidden", 0)
    # Some optimizers need no more than the weights.
    tables = (rows * (factors + 1) + 2 * factors * hidden) * 4
    if tables > free and not config.sharded:
        key = "model.hidden" if 2 * factors * hidden > rows * factors else "model.factors"
        raise DataError(
            f"{key}={getattr(config, key.partition('.')[2])}: a model of {rows - 2:,} users and "
            f"items has weights of {tables / 2**30:,.1f} GiB, and {free / 2**30:.1f} GiB are free; "
            "lower it"
        )

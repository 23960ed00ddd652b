"""From a config to its ratings and the module that trains its model, also from another's rows."""

import logging
from contextlib import nullcontext
from typing import Any, cast

import polars as pl
import psutil
import torch

from lightning_collab.config import RunConfig
from lightning_collab.config.model import ModelConfig
from lightning_collab.data.datamodule import RatingDataModule
from lightning_collab.data.rating_table import RatingTable
from lightning_collab.data.sources import load_ratings
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import ConfigError, DataError
from lightning_collab.losses import build_loss
from lightning_collab.models import DatasetStatistics, build_model, random_numbers
from lightning_collab.models.embedding_table import tables_drawn_later
from lightning_collab.models.rating_model import SIDES
from lightning_collab.training.modules.base_module import BaseModule
from lightning_collab.training.modules.rating_module import RatingModule
from lightning_collab.training.modules.solver_modules import ImplicitModule, LeastSquaresModule
from lightning_collab.training.schedules import Schedule
from lightning_collab.training.trained_model import TrainedModel

log = logging.getLogger(__name__)


@torch.no_grad()
def start_from_run(config: RunConfig, module: BaseModule) -> None:
    """Give a new model the rows of a trained one, and the layers that both have.

    Users and items that the trained run does not know keep what was drawn for them.

    Args:
        config: of the new run, with `init_from`.
        module: of the new run, before its training.

    Raises:
        CheckpointError: not a run directory, or no checkpoint in it.
        ConfigError: its model is another one, or no id is in both.
    """
    assert config.init_from is not None
    trained = TrainedModel.load(config.init_from, cold=False)
    theirs, ours = trained.model.config, module.model.config
    for key, one, other in (
        ("model", theirs.name, ours.name),
        ("model.factors", theirs.factors, ours.factors),
    ):
        if one != other:
            raise ConfigError(
                f"init_from: the run {config.init_from} has {key}={one}, and this one {other}; "
                f"set {key}={one}, or leave init_from out"
            )
    theirs_of: dict[str, Vocabulary] = {
        "users": trained.user_vocabulary,
        "items": trained.item_vocabulary,
    }
    ours_of: dict[str, Vocabulary] = dict(module.vocabularies.items())
    common: dict[str, pl.DataFrame] = {
        side: _common(theirs_of[side], ours_of[side]) for side in SIDES
    }
    if not any(len(rows) for rows in common.values()):
        kinds = " and ".join(
            f"{side} are {theirs_of[side].ids.dtype} there and {ours_of[side].ids.dtype} here"
            for side in SIDES
        )
        raise ConfigError(
            f"init_from: the run {config.init_from} knows none of these users and items ({kinds})"
        )
    if isinstance(module, RatingModule):
        module.keeps_start = True
    tables = module.model.lookup_tables()
    for group, by_side in trained.model.lookup_tables().items():
        for side, table in by_side.items():
            rows = common[side]
            mine = tables[group][side].weight
            mine[rows["ours"].to_torch().long()] = table.weight[
                rows["theirs"].to_torch().long()
            ].to(mine)
    layers = dict(trained.model.named_parameters())
    rows_of_ids = {id(t.weight) for each in tables.values() for t in each.values()}
    for name, parameter in module.model.named_parameters():
        if id(parameter) not in rows_of_ids and layers[name].shape == parameter.shape:
            parameter.copy_(layers[name])
    module.model.fill_unknown_rows()
    known = " and ".join(
        f"{len(common[side]):,} of {len(ours_of[side]) - 1:,} {side}" for side in SIDES
    )
    log.info("the rows of %s start as those of %s", known, config.init_from)


def _common(theirs: Vocabulary, ours: Vocabulary) -> pl.DataFrame:
    """The rows of the ids that are in both: columns `theirs` and `ours`."""
    if theirs.ids.dtype != ours.ids.dtype:
        # 7 and "7" are not the same id.
        return pl.DataFrame(schema={"theirs": pl.Int64, "ours": pl.Int64})
    known, wanted = (
        pl.DataFrame({"id": each.ids, name: range(1, len(each))})
        for name, each in (("theirs", theirs), ("ours", ours))
    )
    return known.join(wanted, on="id").select("theirs", "ours")


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

"""Starting from the rows of a trained run, for the ids that both know."""

import logging

import polars as pl
import torch

from lightning_collab.config import RunConfig
from lightning_collab.data.vocabulary import Vocabulary
from lightning_collab.errors import ConfigError
from lightning_collab.models.rating_model import SIDES
from lightning_collab.training.modules.base_module import BaseModule
from lightning_collab.training.modules.rating_module import RatingModule
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

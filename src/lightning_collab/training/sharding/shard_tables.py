"""A model's tables split by rows over the ranks, in place."""

from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from lightning_collab.models import RatingModel
from lightning_collab.models.embedding_table import EmbeddingTable
from lightning_collab.training.sharding.row_blocks import own_rows_of
from lightning_collab.training.sharding.sharded_table import IdsOfAllRanks, ShardedTable


def shard_tables(model: RatingModel, mesh: DeviceMesh) -> None:
    """Replace each lookup table by the rows that this rank holds of it.

    Tables that hold nothing yet (`tables_drawn_later`) are drawn now, one after the other. What
    features are mapped by stays whole on every rank.

    Args:
        model: its tables are replaced; names and values stay.
        mesh: of one dimension, over the ranks.
    """
    for side in ("users", "items"):
        ids = IdsOfAllRanks(mesh)
        for tables in model.lookup_tables().values():
            table = tables[side]
            whole = table.drawn() if table.weight.is_meta else table.weight.detach()
            sharded = ShardedTable(table, own_rows_of(whole, mesh), mesh, ids)
            for parent in model.modules():
                for name, child in parent.named_children():
                    if child is table:
                        setattr(parent, name, sharded)
    for module in model.modules():
        if isinstance(module, EmbeddingTable) and module.weight.is_meta:
            module.weight = nn.Parameter(module.drawn(), module.weight.requires_grad)


def is_sharded(model: RatingModel) -> bool:
    """Whether the tables of a model are split over ranks.

    Args:
        model: any.
    """
    return any(isinstance(module, ShardedTable) for module in model.modules())

"""Embedding tables of which each rank holds some rows: which, and models made of such tables."""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from lightning_collab.data.vocabulary import UNKNOWN_ROW
from lightning_collab.models import RatingModel
from lightning_collab.models.embedding_table import EmbeddingTable
from lightning_collab.models.rating_model import SIDES


def rows_of_rank(rows: int, rank: int, ranks: int) -> slice:
    """The block of consecutive rows that a rank holds, as DTensor's `Shard(0)` has it.

    Args:
        rows: of the whole table.
        rank: whose block.
        ranks: that share the table.
    """
    each = -(-rows // ranks)
    return slice(min(rank * each, rows), min((rank + 1) * each, rows))


def from_own_rows(own: Tensor, rows: int, mesh: DeviceMesh) -> DTensor:
    """The whole table, of which this rank has its block of rows.

    Args:
        own: [own rows, ...].
        rows: of the whole table.
        mesh: of one dimension, over the ranks.
    """
    shape = torch.Size([rows, *own.shape[1:]])
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        own.contiguous(), mesh, [Shard(0)], run_check=False, shape=shape, stride=stride
    )


def own_rows_of(whole: Tensor, mesh: DeviceMesh) -> Tensor:
    """This rank's block of a tensor that every rank can read, as a copy.

    Args:
        whole: [rows, ...].
        mesh: of one dimension, over the ranks.
    """
    block = rows_of_rank(len(whole), mesh.get_local_rank(), mesh.size())
    return whole[block].to(mesh.device_type, copy=True)


def on_rank_zero(table: DTensor) -> Tensor | None:
    """All rows on the CPU of rank zero, one rank's block after the other.

    No rank but zero ever holds more than its own block, and no device does.

    Args:
        table: split by rows; every rank must call this.

    Returns:
        [rows, ...] on rank zero, None elsewhere.
    """
    mesh, own = table.device_mesh, table.to_local().detach().contiguous()
    group, ranks = mesh.get_group(), mesh.size()
    if mesh.get_local_rank() != 0:
        if len(own):
            distributed.send(own, group=group, group_dst=0)
        return None
    whole = torch.empty(table.shape, dtype=table.dtype)
    whole[rows_of_rank(len(whole), 0, ranks)] = own.cpu()
    for rank in range(1, ranks):
        block = whole[rows_of_rank(len(whole), rank, ranks)]
        if len(block):
            arrived = torch.empty_like(block, device=own.device)
            distributed.recv(arrived, group=group, group_src=rank)
            block.copy_(arrived)
    return whole


# Fills the shares of a batch up to one length; no rank has it.
NO_ROW = -1


class IdsOfAllRanks:
    """The ids that all ranks look up, gathered once for all the tables that are asked for them.

    Args:
        mesh: of one dimension, over the ranks.
    """

    def __init__(self, mesh: DeviceMesh) -> None:
        self._mesh = mesh
        self._asked: Tensor | None = None
        self._gathered: Tensor | None = None

    def of(self, ids: Tensor, whole_size: int) -> Tensor:
        """The shares of all ranks, each filled up to the longest.

        Args:
            ids: int [B], of this rank's share.
            whole_size: over all ranks, which share them as `RatingBatches` does.

        Returns:
            int [ranks * longest share].
        """
        if self._asked is ids and self._gathered is not None:
            return self._gathered
        ranks = self._mesh.size()
        longest = -(-whole_size // ranks)
        filled = ids.new_full((longest,), NO_ROW)
        filled[: len(ids)] = ids
        gathered = ids.new_empty(ranks * longest)
        distributed.all_gather_into_tensor(gathered, filled, group=self._mesh.get_group())
        self._asked, self._gathered = ids, gathered
        return gathered


class ShardedTable(EmbeddingTable):
    """An `EmbeddingTable` as a DTensor parameter that is split by rows over the ranks.

    A lookup is three steps: the ids of all ranks are gathered, each rank looks up those that it
    has (zeros for the others), and the sum over the ranks gives each its own rows. Backward, the
    gradients of all ranks' rows are gathered, and each rank adds up those of the rows that it has;
    they are divided by the number of ranks, so that as under DDP a rank's gradient is the mean
    over ranks of the gradients of their losses.

    Args:
        table: that it takes the place of.
        own: float [own rows, width], the rows of this rank.
        mesh: of one dimension, over the ranks.
        ids: shared by the tables of a model.
    """

    weight: Any  # a DTensor that is a Parameter

    def __init__(
        self, table: EmbeddingTable, own: Tensor, mesh: DeviceMesh, ids: IdsOfAllRanks
    ) -> None:
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = table.num_embeddings, table.embedding_dim
        self.mesh = mesh
        self._ids = ids
        self._block = rows_of_rank(self.num_embeddings, mesh.get_local_rank(), mesh.size())
        self.weight = nn.Parameter(
            from_own_rows(own, self.num_embeddings, mesh), requires_grad=table.weight.requires_grad
        )
        self.register_load_state_dict_pre_hook(_take_own_rows)  # type: ignore[no-untyped-call]

    def rows(self, ids: Tensor, whole_size: int) -> Tensor:
        """The rows of this rank's ids; every rank must call this with its share of a batch.

        Args:
            ids: int [B].
            whole_size: rows of the whole batch over all ranks.

        Returns:
            float [B, width].
        """
        asked = self._ids.of(ids, whole_size).long() - self._block.start
        own: Tensor = self.weight.to_local()
        here = (asked >= 0) & (asked < len(own))
        found = own.new_zeros(len(asked), self.embedding_dim)
        # As a product rather than `found[here] = ...`, whose size the CPU would have to ask
        # a GPU for.
        if len(own):
            found = nn.functional.embedding(torch.where(here, asked, 0), own) * here[:, None]
        summed: Tensor = _SumOverRanks.apply(found, self.mesh.get_group())  # type: ignore[no-untyped-call]
        return summed[: len(ids)]

    def forward(self, ids: Tensor) -> Tensor:
        """Not here: ranks must look up together."""
        raise RuntimeError("a table that is split over ranks is asked by `rows`")

    @torch.no_grad()
    def fill_unknown_row(self) -> None:
        """Give the unknown row the mean of the known rows of all ranks."""
        own: Tensor = self.weight.to_local()
        known = own[1:] if self._block.start == UNKNOWN_ROW else own
        total = known.sum(0, dtype=torch.float64)
        distributed.all_reduce(total, group=self.mesh.get_group())
        if self._block.start == UNKNOWN_ROW and self.num_embeddings > 1 and len(own):
            own[0] = (total / (self.num_embeddings - 1)).to(own.dtype)

    def extra_repr(self) -> str:
        """For printing."""
        block = f"rows {self._block.start} to {self._block.stop} here"
        return f"{self.num_embeddings}, {self.embedding_dim}, {block}"


def _take_own_rows(table: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Of a whole table in a state that is loaded, leave this rank's rows."""
    name = f"{prefix}weight"
    whole = state_dict.get(name)
    if whole is not None and not isinstance(whole, DTensor) and whole.ndim:
        own = own_rows_of(whole, table.mesh)
        state_dict[name] = from_own_rows(own, len(whole), table.mesh)


class _SumOverRanks(torch.autograd.Function):
    """Each rank's slice of the sum over ranks; backward, the mean of the loss over ranks."""

    @staticmethod
    def forward(ctx: Any, found: Tensor, group: distributed.ProcessGroup) -> Tensor:
        ctx.group = group
        ranks = distributed.get_world_size(group)
        mine = found.new_empty(len(found) // ranks, *found.shape[1:])
        distributed.reduce_scatter_tensor(mine, found.contiguous(), group=group)
        return mine

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ranks = distributed.get_world_size(ctx.group)
        whole = gradient.new_empty(len(gradient) * ranks, *gradient.shape[1:])
        distributed.all_gather_into_tensor(whole, gradient.contiguous() / ranks, group=ctx.group)
        return whole, None


def shard_tables(model: RatingModel, mesh: DeviceMesh) -> None:
    """Replace each lookup table by the rows that this rank holds of it.

    Tables that hold nothing yet (`tables_drawn_later`) are drawn now, one after the other. What
    features are mapped by stays whole on every rank.

    Args:
        model: its tables are replaced; names and values stay.
        mesh: of one dimension, over the ranks.
    """
    for side in SIDES:
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

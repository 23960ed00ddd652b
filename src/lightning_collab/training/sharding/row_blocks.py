"""Which rows of a table each rank holds, and tensors split that way."""

import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard


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

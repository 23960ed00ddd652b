"""What ranks do beyond Lightning's DDP: hold some rows each, or take steps by themselves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from lightning_collab.compat import use_all_ranks
from lightning_collab.data.batches import RatingBatch
from lightning_collab.models import RatingModel
from lightning_collab.runs.checkpoints import read_checkpoint
from lightning_collab.training.sharding.sharded_table import (
    from_own_rows,
    on_rank_zero,
    own_rows_of,
)


class RowShardingStrategy(ModelParallelStrategy):
    """Tables split by rows; everything else on every rank, its gradients averaged.

    A checkpoint is one file of whole tables, the same as without sharding: on saving, rank zero
    collects the blocks of the others one by one; on loading, each rank reads its own rows from the
    file, which is mapped into memory, not read as a whole.

    Args:
        ranks: on all machines, which share the rows.
        process_group_backend: what ranks talk through; None: torch's choice for the device.
    """

    def __init__(self, ranks: int | None, process_group_backend: str | None) -> None:
        super().__init__(
            data_parallel_size=1,
            tensor_parallel_size=ranks or "auto",
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
        )

    @property
    def row_mesh(self) -> DeviceMesh:
        """The mesh of one dimension that the rows are split over."""
        return self.device_mesh["tensor_parallel"]

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Through `load_optimizer_state_dict`."""
        return True

    def setup_environment(self) -> None:
        """Find out how many ranks there are before they are arranged."""
        use_all_ranks(self, self.num_nodes * self.num_processes)
        super().setup_environment()

    def setup_optimizers(self, trainer: pl.Trainer) -> None:
        """Groups of both kinds of parameters are stepped one by one: torch's batches mix none."""
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                kinds = {isinstance(parameter, DTensor) for parameter in group["params"]}
                if len(kinds) == 2:
                    group["foreach"] = group["fused"] = False

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average the gradients of what every rank has, in one message."""
        super().post_backward(closure_loss)
        assert self.lightning_module is not None
        shared = [
            parameter
            for parameter in self.lightning_module.parameters()
            if parameter.requires_grad and not isinstance(parameter, DTensor)
        ]
        if not shared:
            return
        for parameter in shared:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in shared if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.world_size
        averages = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, average in zip(gradients, averages, strict=True):
            gradient.copy_(average.view_as(gradient))

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tables, on rank zero; the other ranks get None for each table."""
        assert self.lightning_module is not None
        state = self.lightning_module.state_dict()
        return {name: _whole(value) for name, value in state.items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As the optimizer of a model that is not split would have it, on rank zero."""
        if isinstance(optimizer, LightningOptimizer):
            optimizer = optimizer.optimizer
        content = optimizer.state_dict()
        state = {
            number: {key: _whole(value) for key, value in each.items()}
            for number, each in content["state"].items()
        }
        return {**content, "state": state}

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The content of a file that is mapped into memory, so that each rank reads its rows."""
        return read_checkpoint(Path(self.broadcast(checkpoint_path)), mapped=True)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this rank's rows of each table; see `ShardedTable`."""
        assert self.lightning_module is not None
        self.lightning_module.load_state_dict(checkpoint["state_dict"], strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this rank's rows of what the optimizer keeps for each table."""
        for optimizer, content in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            state = {
                number: {key: self._own(value, parameters[number]) for key, value in each.items()}
                for number, each in content["state"].items()
            }
            optimizer.load_state_dict({**content, "state": state})

    def _own(self, value: Any, parameter: Tensor) -> Any:
        is_table = isinstance(parameter, DTensor) and isinstance(value, Tensor)
        if not is_table or value.shape != parameter.shape:
            return value
        return from_own_rows(own_rows_of(value, self.row_mesh), len(value), self.row_mesh)


def _whole(value: Any) -> Any:
    return on_rank_zero(value) if isinstance(value, DTensor) else value


class LocalStepsStrategy(DDPStrategy):
    """Ranks take steps by themselves, each on its share of the batch, and average now and then.

    Local SGD: Stich (2019), "Local SGD converges fast and communicates little". What is averaged
    are the weights and what the optimizer keeps of each, such as momentum and both moments of Adam
    (as Yu et al. 2019, "On the linear speedup analysis of communication efficient momentum SGD").
    A rank's gradient is the mean over its share, so that plain SGD that averages after each step
    takes the steps of DDP. Rows that no rank has touched since are the same on all, and are not
    sent where that is less work.

    Args:
        every: optimizer steps between two averages; an epoch, a validation and a checkpoint ask for
            one as well.
        process_group_backend: what ranks talk through; None: torch's choice for the device.
    """

    # Above this share of touched rows, sending all is cheaper than picking them out.
    DENSE = 0.5

    def __init__(self, every: int, process_group_backend: str | None) -> None:
        super().__init__(process_group_backend=process_group_backend)
        self.every = every
        self._apart = False
        # Of each side, uint8 [rows]: 1 where a rating of this rank was since the last average.
        self._touched: dict[str, Tensor] = {}

    def configure_ddp(self) -> None:
        """Begin with the weights of rank zero; without DDP, which would sum each gradient."""
        assert self.lightning_module is not None
        for parameter in self.lightning_module.parameters():
            distributed.broadcast(parameter.data, 0)

    def post_backward(self, closure_loss: Tensor) -> None:
        """What a share did not need has a gradient of zero, so that all ranks keep the same."""
        assert self.lightning_module is not None
        for parameter in self.lightning_module.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Note which rows this rank is about to move."""
        self._apart = True
        assert self.lightning_module is not None
        model: RatingModel = self.lightning_module.model  # type: ignore[assignment]
        for side, table in model.lookup_tables().get("embeddings", {}).items():
            if side not in self._touched:
                rows = table.num_embeddings
                self._touched[side] = torch.zeros(rows, dtype=torch.uint8, device=self.root_device)
            if isinstance(batch, RatingBatch):
                self._touched[side].index_fill_(0, getattr(batch, side).long(), 1)
            else:
                self._touched[side].fill_(1)

    @torch.no_grad()
    def average(self) -> None:
        """Give all ranks the mean of what they have, unless they have the same anyway."""
        if not self._apart:
            return
        self._apart = False
        assert self.lightning_module is not None
        model: RatingModel = self.lightning_module.model  # type: ignore[assignment]
        rows: dict[Tensor, Tensor | None] = {}
        for side, touched in self._touched.items():
            distributed.all_reduce(touched, distributed.ReduceOp.MAX)
            found = touched.nonzero().squeeze(1)
            few = len(found) < self.DENSE * len(touched)
            for tables in model.lookup_tables().values():
                if side in tables:
                    rows[tables[side].weight] = found if few else None
            touched.zero_()
        for optimizer in self.optimizers:
            for weight in (each for group in optimizer.param_groups for each in group["params"]):
                if weight.requires_grad:
                    kept = optimizer.state[weight].values()
                    same = [each for each in kept if getattr(each, "shape", None) == weight.shape]
                    self._average([weight.data, *same], rows.get(weight))

    def _average(self, values: list[Tensor], rows: Tensor | None) -> None:
        sent = torch.stack([each if rows is None else each[rows] for each in values])
        distributed.all_reduce(sent)
        sent /= self.world_size
        for value, mean in zip(values, sent, strict=True):
            if rows is None:
                value.copy_(mean)
            else:
                value.index_copy_(0, rows, mean)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The mean of all ranks, which all of them ask for when a checkpoint is written."""
        self.average()
        return super().lightning_module_state_dict()

    def on_train_end(self) -> None:
        """Leave the mean in the model, wherever the training ends."""
        self.average()

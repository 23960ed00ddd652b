"""`python -m benchmarks.rank_process <folder>`: one rank of a measured training.

Lightning starts it once more for each further rank. Each leaves `rank-<k>.json` in the folder.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytorch_lightning as pl
import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

from lightning_collab.config import RunConfig, validated
from lightning_collab.data.batches import RatingBatches
from lightning_collab.models import DatasetStatistics, build_model
from lightning_collab.models.embedding_table import tables_drawn_later
from lightning_collab.training.console import run_log
from lightning_collab.training.modules.rating_module import RatingModule
from lightning_collab.training.trainer import build_bare_trainer

REQUEST_FILE = "request.json"
# Steps before the clock starts.
WARM_UP = 3


class Measures(pl.Callback):
    """Seconds and bytes of the steps after the first few.

    Args:
        steps: in all.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.result: dict[str, float] = {}
        self._since = 0.0
        self._sent = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock, when all ranks are there."""
        if trainer.global_step == WARM_UP:
            trainer.strategy.barrier()
            self._sent = _sent_over_loopback()
            self._since = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Stop the clock, and weigh what is there."""
        if trainer.global_step != self.steps:
            return
        trainer.strategy.barrier()
        steps = self.steps - WARM_UP
        self.result["step_seconds"] = (time.perf_counter() - self._since) / steps
        self.result["loopback_bytes"] = (_sent_over_loopback() - self._sent) / steps
        parameters = list(pl_module.parameters())
        states = [
            value
            for optimizer in trainer.optimizers
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
        self.result["parameter_bytes"] = sum(map(_own_bytes, parameters))
        self.result["gradient_bytes"] = sum(
            _own_bytes(each.grad) for each in parameters if each.grad is not None
        )
        self.result["state_bytes"] = sum(map(_own_bytes, states))
        self.result["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if trainer.world_size > 1:
            self.result |= _link()


def main() -> None:
    """Train as the request in the folder says, and leave what was measured."""
    folder = Path(sys.argv[1])
    request = json.loads((folder / REQUEST_FILE).read_text())
    config = validated(request["config"])
    measures = Measures(request["steps"])
    started_with = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with run_log(None, silent=True):
        trainer = build_bare_trainer(config, [measures], request["steps"])
        module = random_module(config, request["users"], request["items"])
        batches = random_batches(config, request, trainer)
        trainer.fit(module, train_dataloaders=batches)
    result = {**measures.result, "rss_bytes_at_start": started_with}
    (folder / f"rank-{trainer.global_rank}.json").write_text(json.dumps(result))


def random_module(config: RunConfig, users: int, items: int) -> RatingModule:
    """A model for users and items that nobody has to name.

    Args:
        config: of the run.
        users: rows of the tables of users.
        items: rows of the tables of items.
    """
    torch.manual_seed(config.seed)
    statistics = DatasetStatistics(users, items, rating_range=(1.0, 5.0), mean_rating=3.0)
    if config.model.sharded:
        with tables_drawn_later():
            model = build_model(config.model, statistics)
    else:
        model = build_model(config.model, statistics)
    return RatingModule(
        model,
        optimizer=config.optimizer,
        scheduler=config.scheduler,
        training=config.training,
        clip=config.trainer.gradient_clip_val,
        rating_range=(1.0, 5.0),
        vocabularies={},
    )


def random_batches(
    config: RunConfig, request: dict[str, Any], trainer: pl.Trainer
) -> RatingBatches:
    """Ratings drawn at random, enough for all steps in one epoch.

    Args:
        config: of the run.
        request: `users`, `items` and `steps`.
        trainer: for whose ranks.
    """
    size = config.batch_size
    assert isinstance(size, int)
    random = torch.Generator().manual_seed(0)
    rows = size * request["steps"]
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    return RatingBatches(
        torch.randint(1, request["users"], (rows,), generator=random, dtype=torch.int32),
        torch.randint(1, request["items"], (rows,), generator=random, dtype=torch.int32),
        torch.randint(1, 6, (rows,), generator=random).float(),
        batch_size=size,
        shuffle=False,
        seed=0,
        rank=rank,
        world_size=trainer.world_size,
    )


def _link() -> dict[str, float]:
    """What the cost model must know of this machine."""
    small, large, copied = torch.zeros(1), torch.zeros(1 << 23), torch.zeros(1 << 24)
    source = torch.ones(1 << 24)
    seconds = _best_seconds(lambda: distributed.all_reduce(large), 5)
    return {
        "latency_seconds": _best_seconds(lambda: distributed.all_reduce(small), 50) / 2,
        # With two ranks an all-reduce sends as many bytes as the tensor has.
        "link_bytes_per_second": large.nbytes / seconds,
        "memory_bytes_per_second": 2
        * copied.nbytes
        / _best_seconds(lambda: copied.copy_(source), 5),
    }


def _best_seconds(work: Callable[[], Any], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        since = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - since)
    return best


def _own_bytes(tensor: Tensor) -> int:
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).nbytes


def _sent_over_loopback() -> int:
    counters = psutil.net_io_counters(pernic=True)
    return counters["lo"].bytes_sent if "lo" in counters else 0


if __name__ == "__main__":
    main()

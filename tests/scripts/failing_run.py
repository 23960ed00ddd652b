"""A run in which one rank fails in its third step; Lightning starts this file for each rank.

With `waiting` in the environment the others do not learn of it, as ranks that talk through NCCL.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from support import composed

from lightning_collab.config import validated
from lightning_collab.runs.directory import RunDirectory
from lightning_collab.runs.launch import is_first_rank
from lightning_collab.training.console import run_log
from lightning_collab.training.run import train


class Fails(pl.Callback):
    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_rank == self.rank and trainer.global_step == 3:
            raise ZeroDivisionError("a fault made for a test")
        if "waiting" in os.environ and trainer.global_step == 3:
            time.sleep(600)


if __name__ == "__main__":
    rank, directory, *overrides = sys.argv[1:]
    with run_log(None, silent=not is_first_rank()):
        Path(directory).mkdir(exist_ok=True)
        train(
            validated(composed(*overrides)),
            RunDirectory(Path(directory)),
            callbacks=[Fails(int(rank))],
        )

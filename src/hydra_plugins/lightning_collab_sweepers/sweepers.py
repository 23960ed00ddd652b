"""The sweepers in the form that Hydra's plugin system requires.

Hydra imports this at every start of every script: nothing heavy at the top.
"""

import sys
from typing import Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from lightning_collab.errors import LightningCollabError


class _LightningCollabSweeper(Sweeper):
    """Keeps what Hydra passes; turns errors that the user can act on into one message."""

    def __init__(self, **_: Any) -> None:
        # The settings are read, and checked, from the config of the sweep.
        super().__init__()

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Take the composed multirun."""
        self._parts = (hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs."""
        from lightning_collab.tuning.sweep import Sweep

        try:
            return self._run(Sweep(*self._parts), arguments)
        except LightningCollabError as error:
            sys.exit(f"error: {error}")

    def _run(self, sweep: Any, arguments: list[str]) -> Any:
        raise NotImplementedError


class OptunaStudySweeper(_LightningCollabSweeper):
    """`hydra/sweeper=optuna_study`."""

    def _run(self, sweep: Any, arguments: list[str]) -> Any:
        from lightning_collab.tuning.study import run_study

        return run_study(sweep, arguments)


class GridSweeper(_LightningCollabSweeper):
    """`hydra/sweeper=grid`: every combination, one run each."""

    def _run(self, sweep: Any, arguments: list[str]) -> Any:
        from lightning_collab.tuning.grid import run_grid

        return run_grid(sweep, arguments)

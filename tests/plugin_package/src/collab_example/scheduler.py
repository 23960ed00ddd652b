"""`scheduler=inverse_root`: the rate falls with the root of the epochs."""

from typing import Literal

import numpy as np

from lightning_collab.config.optimizer import SchedulerConfig


class InverseRoot(SchedulerConfig):
    """factor = 1 / sqrt(1 + strength * epochs)."""

    name: Literal["inverse_root"] = "inverse_root"
    # How fast it falls; 0: not at all.
    strength: float = 1.0

    def factors(self, step, *, steps_per_epoch, total_steps, lr):
        return 1 / np.sqrt(1 + self.strength * step / steps_per_epoch)

"""Whether this machine has the devices that a config asks for."""

import torch

from lightning_collab.config.trainer import TrainerConfig
from lightning_collab.errors import ConfigError


def check_devices(settings: TrainerConfig) -> None:
    """Refuse a config for devices that are not there.

    Args:
        settings: the `trainer` section.

    Raises:
        ConfigError: it asks for more graphics processors than torch can use.
    """
    if settings.accelerator != "gpu":
        return
    there = torch.cuda.device_count()
    if there == 0:
        raise ConfigError(
            f"trainer={settings.name}: this machine has no graphics processor that torch can use; "
            "say trainer=cpu or trainer=ddp_cpu"
        )
    if isinstance(settings.devices, int) and settings.devices > there:
        raise ConfigError(f"trainer.devices={settings.devices}, but this machine has {there}")

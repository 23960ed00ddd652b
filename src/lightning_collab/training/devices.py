"""Whether this machine has the devices, and its ranks the way to talk, that a config asks for."""

import os
import socket

import torch
from torch import distributed

from lightning_collab.config.trainer import TrainerConfig
from lightning_collab.errors import ConfigError

BACKENDS = {"gloo": distributed.is_gloo_available, "nccl": distributed.is_nccl_available}


def check_devices(settings: TrainerConfig) -> None:
    """Refuse a config for devices that are not there, or for ranks that could not talk.

    Args:
        settings: the `trainer` section.

    Raises:
        ConfigError: it asks for more GPUs than torch can use; torch was built
            without what the ranks talk through; the port that they are to meet at is in use.
    """
    if settings.accelerator == "gpu":
        _check_gpus(settings)
    if settings.strategy == "ddp":
        _check_backend(settings)
        if _opens_the_port():
            _check_port()


def _check_gpus(settings: TrainerConfig) -> None:
    there = torch.cuda.device_count()
    if there == 0:
        raise ConfigError(
            f"trainer={settings.name}: this machine has no GPU that torch can use; "
            "set trainer=cpu or trainer=ddp_cpu"
        )
    if isinstance(settings.devices, int) and settings.devices > there:
        raise ConfigError(f"trainer.devices={settings.devices}, but this machine has {there}")
    if settings.devices == "auto" and settings.strategy == "auto" and there > 1:
        raise ConfigError(
            f"trainer.devices=auto: this machine has {there}, and trainer={settings.name} is one "
            "process; set trainer=ddp"
        )


def _check_backend(settings: TrainerConfig) -> None:
    if not distributed.is_available():
        raise ConfigError(
            f"trainer={settings.name}: this torch was built without torch.distributed, so that "
            "there can be one rank only; set trainer=cpu or trainer=gpu"
        )
    backend = settings.process_group_backend
    if backend is not None and not BACKENDS[backend]():
        there = [name for name, is_there in BACKENDS.items() if is_there()]
        raise ConfigError(
            f"trainer.process_group_backend={backend}: this torch was built without it; it has "
            f"{' and '.join(there) or 'none'}"
        )


def _opens_the_port() -> bool:
    """Whether this process is rank zero, and the store at the port is its own to open."""
    store_is_there = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if store_is_there or "LOCAL_RANK" in os.environ:
        return False
    return all(int(os.environ.get(n, "0")) == 0 for n in ("RANK", "NODE_RANK", "SLURM_PROCID"))


def _check_port() -> None:
    port = os.environ.get("MASTER_PORT")
    if port is None:
        return  # Lightning looks for a free one, or takes one from the number of the SLURM job
    try:
        number = int(port)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", number))
    except (ValueError, OverflowError):
        raise ConfigError(
            f"MASTER_PORT={port} is not a port: a port is a number up to 65535"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"MASTER_PORT={port}, where the ranks are to meet, is in use or not allowed "
            f"({error.strerror}); set it to another, or leave it unset and a free one is found"
        ) from error

"""What only this machine and other packages can answer for, asked before any data is read.

Whether there are the devices, the way for ranks to talk, and the parts that a config asks for.
"""

import logging
import os
import socket
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import distributed

from lightning_collab.config import RunConfig
from lightning_collab.config.optimizer import TorchOptimizerConfig
from lightning_collab.config.section import invalid
from lightning_collab.config.trainer import NO_SPARSE_SUMS, TARGET, CallbacksConfig, TrainerConfig
from lightning_collab.errors import ConfigError
from lightning_collab.training.loggers import check_loggers
from lightning_collab.training.torch_optimizers import check_torch_optimizer

log = logging.getLogger(__name__)

BACKENDS = {"gloo": distributed.is_gloo_available, "nccl": distributed.is_nccl_available}


def accelerator_of(settings: TrainerConfig) -> str:
    """The kind of device that a run is on; never Apple's GPU, which has no float64.

    Args:
        settings: the `trainer` section.
    """
    apple = torch.backends.mps.is_available() and not torch.cuda.is_available()
    if settings.accelerator != "cpu" and apple:
        log.info(
            "training on the CPU: Apple's GPUs have no float64, in which losses and metrics are "
            "summed"
        )
        return "cpu"
    return settings.accelerator


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


def check_parts(config: RunConfig) -> None:
    """Refuse parts of other packages that are not there or cannot be used.

    Args:
        config: of a run.

    Raises:
        ConfigError: a logger's package is not installed; torch has no such optimizer, or refuses
            its settings.
    """
    check_loggers(config.logger)
    ranks = config.trainer.strategy == "ddp" and config.trainer.talks_through is None
    if config.optimizer.sparse_gradients and ranks and torch.cuda.is_available():
        raise invalid(NO_SPARSE_SUMS)
    if config.model.by_gradient and isinstance(config.optimizer, TorchOptimizerConfig):
        check_torch_optimizer(
            config.optimizer, list(config.model.group_names), sharded=config.model.sharded
        )


def further_callbacks(config: CallbacksConfig) -> list[pl.Callback]:
    """The callbacks of other packages that were typed, or are in a folder of config groups.

    Args:
        config: the `callbacks` section; that of a saved run has none.

    Raises:
        ConfigError: one cannot be imported or made, or is no Callback.
    """
    return [_callback(key, target) for key, target in config.targets.items()]


def _callback(key: str, target: dict[str, Any]) -> pl.Callback:
    name = target[TARGET]
    try:
        made = instantiate(target, _convert_="all")
    except InstantiationException as error:
        raise _not_made(key, name, error) from error
    if not isinstance(made, pl.Callback):
        raise invalid(
            f"{key}.{TARGET}: {name} makes a {type(made).__name__}, which is not a "
            "pytorch_lightning.Callback"
        )
    return made


def _not_made(key: str, name: str, error: InstantiationException) -> ConfigError:
    """What went wrong, in the words of the package, and where to look."""
    cause = error.__cause__
    while isinstance(cause, ImportError) and cause.__cause__ is not None:
        # Hydra's own words around it.
        cause = cause.__cause__
    if isinstance(cause, ImportError | AttributeError):
        return invalid(
            f"{key}.{TARGET}: {name} cannot be imported: {cause}; name a class that Python can "
            "import (PYTHONPATH counts)"
        )
    why = f"{type(cause).__name__}: {cause}" if cause is not None else str(error).splitlines()[0]
    return invalid(f"{key}: {name} cannot be made: {why}")

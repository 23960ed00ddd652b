"""What a config names and only other packages can answer for, asked before any data is read."""

from typing import Any

import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from lightning_collab.config import RunConfig
from lightning_collab.config.callbacks import TARGET, CallbacksConfig
from lightning_collab.config.optimizer import TorchOptimizerConfig
from lightning_collab.config.section import invalid
from lightning_collab.errors import ConfigError
from lightning_collab.training.loggers import check_loggers
from lightning_collab.training.torch_optimizers import check_torch_optimizer


def check_parts(config: RunConfig) -> None:
    """Refuse parts of other packages that are not there or cannot be used.

    Args:
        config: of a run.

    Raises:
        ConfigError: a logger's package is not installed; torch has no such optimizer, or refuses
            its settings.
    """
    check_loggers(config.logger)
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

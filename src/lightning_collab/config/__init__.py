"""The config of a run: one module for each folder of `conf/`, and the whole in `run`.

The types are imported when they are asked for: to look at what there is to choose needs none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_collab.config.run import RunConfig, validated


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.run"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["RunConfig", "validated"]

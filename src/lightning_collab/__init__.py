"""lightning-collab: learn, compare, tune and inspect embedding models of ratings."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_collab.config.register import (
        register_loss,
        register_metric,
        register_model,
        register_scheduler,
        register_source,
        register_split,
    )
    from lightning_collab.inference.trained_run import TrainedRun, load

__version__ = "0.1.0"
__all__ = [
    "TrainedRun",
    "__version__",
    "load",
    "register_loss",
    "register_metric",
    "register_model",
    "register_scheduler",
    "register_source",
    "register_split",
]

# Imported when first asked for: `import lightning_collab` itself loads no torch.
_LAZY = {
    "TrainedRun": "lightning_collab.inference.trained_run",
    "load": "lightning_collab.inference.trained_run",
    "register_loss": "lightning_collab.config.register",
    "register_metric": "lightning_collab.config.register",
    "register_model": "lightning_collab.config.register",
    "register_scheduler": "lightning_collab.config.register",
    "register_source": "lightning_collab.config.register",
    "register_split": "lightning_collab.config.register",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

"""lightning-collab: learn, compare, tune and inspect embedding models of ratings.

The public face, each name imported when it is first asked for:

- `train`, `load` and the `TrainedRun` that both give; `load_ratings`, which makes frames of
  MovieLens; `LightningCollabError`, whatever a user can fix;
- under a Trainer of your own: `RatingDataModule`, the models (`EmbeddingDotBias`, `EmbeddingNet`,
  `MatrixProduct`, `LeastSquaresFactors`, `ImplicitFactors`, `Ease`, `BayesianFactors`), the losses
  (`SquaredError`, `Softmax`, `BCE`, `BPR`) and the LightningModules that train them
  (`RatingModule`, `LeastSquaresModule`, `ImplicitModule`, `BayesianModule`);
- what parts of your own derive from (`RatingModel`, `ModelConfig`, `DatasetStatistics`, `Loss` with
  its kinds `PointwiseLoss`, `PairwiseLoss` and `UserLoss`), and `register_...`, which make them
  known by name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_collab.api.from_python import train
    from lightning_collab.api.source_frames import load_ratings
    from lightning_collab.api.trained_run import TrainedRun, load
    from lightning_collab.config.model import ModelConfig
    from lightning_collab.config.register import (
        register_loss,
        register_metric,
        register_model,
        register_scheduler,
        register_source,
        register_split,
    )
    from lightning_collab.data.datamodule import RatingDataModule
    from lightning_collab.errors import LightningCollabError
    from lightning_collab.losses import (
        BCE,
        BPR,
        Loss,
        PairwiseLoss,
        PointwiseLoss,
        Softmax,
        SquaredError,
        UserLoss,
    )
    from lightning_collab.models import (
        BayesianFactors,
        DatasetStatistics,
        Ease,
        EmbeddingDotBias,
        EmbeddingNet,
        ImplicitFactors,
        LeastSquaresFactors,
        MatrixProduct,
        RatingModel,
    )
    from lightning_collab.training.modules.bayesian_module import BayesianModule
    from lightning_collab.training.modules.rating_module import RatingModule
    from lightning_collab.training.modules.solver_modules import ImplicitModule, LeastSquaresModule

__version__ = "0.1.0"
__all__ = [
    "BCE",
    "BPR",
    "BayesianFactors",
    "BayesianModule",
    "DatasetStatistics",
    "Ease",
    "EmbeddingDotBias",
    "EmbeddingNet",
    "ImplicitFactors",
    "ImplicitModule",
    "LeastSquaresFactors",
    "LeastSquaresModule",
    "LightningCollabError",
    "Loss",
    "MatrixProduct",
    "ModelConfig",
    "PairwiseLoss",
    "PointwiseLoss",
    "RatingDataModule",
    "RatingModel",
    "RatingModule",
    "Softmax",
    "SquaredError",
    "TrainedRun",
    "UserLoss",
    "__version__",
    "load",
    "load_ratings",
    "register_loss",
    "register_metric",
    "register_model",
    "register_scheduler",
    "register_source",
    "register_split",
    "train",
]

# Module -> names, imported when first asked for: `import lightning_collab` itself loads no torch.
_LAZY = {
    "api.from_python": ("train",),
    "api.source_frames": ("load_ratings",),
    "api.trained_run": ("TrainedRun", "load"),
    "config.model": ("ModelConfig",),
    "config.register": tuple(name for name in __all__ if name.startswith("register_")),
    "data.datamodule": ("RatingDataModule",),
    "errors": ("LightningCollabError",),
    "losses": (
        *("Loss", "PairwiseLoss", "PointwiseLoss", "UserLoss"),
        *("BCE", "BPR", "Softmax", "SquaredError"),
    ),
    "models": (
        *("BayesianFactors", "EmbeddingDotBias", "EmbeddingNet", "LeastSquaresFactors"),
        *("MatrixProduct", "ImplicitFactors", "RatingModel", "DatasetStatistics"),
        "Ease",
    ),
    "training.modules.bayesian_module": ("BayesianModule",),
    "training.modules.solver_modules": ("ImplicitModule", "LeastSquaresModule"),
    "training.modules.rating_module": ("RatingModule",),
}
_PLACES = {name: f"{__name__}.{module}" for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

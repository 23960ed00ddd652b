"""Models that turn a batch into ratings; no training code.

Each name is imported when it is asked for, so that `models.config` alone needs no torch.
"""

from importlib import import_module
from threading import RLock
from typing import TYPE_CHECKING, Any

from lightning_collab.config.registry import MODELS

if TYPE_CHECKING:
    from lightning_collab.config.model import ModelConfig
    from lightning_collab.models.bayesian_factors import BayesianFactors
    from lightning_collab.models.ease import Ease
    from lightning_collab.models.embedding_net import EmbeddingNet
    from lightning_collab.models.embedding_table import EmbeddingTable
    from lightning_collab.models.factors import (
        EmbeddingDotBias,
        ImplicitFactors,
        LeastSquaresFactors,
        MatrixProduct,
    )
    from lightning_collab.models.rating_model import RatingModel
    from lightning_collab.models.rating_output import DatasetStatistics

_MODULES = {
    "BayesianFactors": "bayesian_factors",
    "Ease": "ease",
    "EmbeddingTable": "embedding_table",
    "EmbeddingDotBias": "factors",
    "EmbeddingNet": "embedding_net",
    "ImplicitFactors": "factors",
    "LeastSquaresFactors": "factors",
    "MatrixProduct": "factors",
    "DatasetStatistics": "rating_output",
    "RatingModel": "rating_model",
}


# Held by whoever seeds torch's random numbers and draws from them, which all threads share.
random_numbers = RLock()


def build_model(config: "ModelConfig", statistics: "DatasetStatistics") -> "RatingModel":
    """The model that a config asks for, with freshly drawn parameters.

    Args:
        config: the `model` section.
        statistics: sizes, scale and mean of the training ratings.

    Raises:
        ConfigError: a model of others breaks its contract.
    """
    model_class: type[RatingModel] = MODELS.implementation(config)
    with random_numbers:
        if not MODELS.is_ours(config.name):
            from lightning_collab.models.contract import check_model

            check_model(model_class, config, statistics.rating_range)
        return model_class(config, statistics)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


__all__ = [
    "BayesianFactors",
    "DatasetStatistics",
    "Ease",
    "EmbeddingDotBias",
    "EmbeddingNet",
    "EmbeddingTable",
    "ImplicitFactors",
    "LeastSquaresFactors",
    "MatrixProduct",
    "RatingModel",
    "build_model",
]

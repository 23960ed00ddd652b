"""What a config can choose by name, and the class of each, imported when it is asked for."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any


class Registry:
    """Classes by name.

    Args:
        built_in: name -> place of the class, as "module:Class".
    """

    def __init__(self, built_in: Mapping[str, str]) -> None:
        self._places = dict(built_in)

    @property
    def names(self) -> list[str]:
        """All there are."""
        return list(self._places)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._places

    def __getitem__(self, name: str) -> Any:
        return class_at(self._places[name])


def class_at(place: str) -> Any:
    """A class by its place.

    Args:
        place: "module:Class".
    """
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


# Configs of models.
MODELS = Registry(
    {
        "embedding_dot_bias": "lightning_collab.models.config:EmbeddingDotBiasConfig",
        "embedding_net": "lightning_collab.models.config:EmbeddingNetConfig",
        "matrix_product": "lightning_collab.models.config:MatrixProductConfig",
        "least_squares_factors": "lightning_collab.models.config:LeastSquaresFactorsConfig",
        "bayesian_factors": "lightning_collab.models.config:BayesianFactorsConfig",
    }
)

# Configs of losses.
LOSSES = Registry({"squared_error": "lightning_collab.config.loss:SquaredErrorConfig"})

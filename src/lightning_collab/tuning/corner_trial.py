"""A trial at an end of a search space, to see whether it makes a config."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FixedTrial


class CornerTrial(FixedTrial):
    """A trial with given parameters; what a hook draws beside them is an end of its range.

    Args:
        params: name -> value.
        last: True: the highest value or last choice; False: the lowest or first.
    """

    def __init__(self, params: Mapping[str, Any], *, last: bool) -> None:
        super().__init__(dict(params))
        self._suggested_params.update(params)
        self._last = last

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self._params:
            self._params[name] = self._end(distribution)
        return super()._suggest(name, distribution)

    def _end(self, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[-1 if self._last else 0]
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        return distribution.high if self._last else distribution.low

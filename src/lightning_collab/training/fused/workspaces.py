"""What the kernels need beside the tables, kept from one block of steps to the next."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_collab.training.fused.batch_rows import Table, TrainedRows

Array = NDArray[Any]


class Workspaces:
    """Workspaces by name, made when first asked for.

    Args:
        counts: type of the counts in a batch; see `TrainedRows`.
    """

    def __init__(self, counts: type[np.int32] | type[np.float64]) -> None:
        self._counts = counts
        self._kept: dict[str, dict[str, Array]] = {}

    def clear(self) -> None:
        """Forget which rows have been touched, since the optimizer's state is another."""
        self._kept.clear()

    def rows(self, name: str, ids: Array, factors: Table, bias: Table, places: int) -> TrainedRows:
        """Rows as they are at the beginning of a block of steps.

        Args:
            name: what they are of.
            ids: int [n], the row of each rating.
            factors: their factors.
            bias: their biases.
            places: rows that a batch has at most.
        """
        work = self._kept.get(name)
        if work is None or len(work["rows"]) != places:
            work = self._kept[name] = self._new(factors, bias, places)
        work["done"][:] = 0
        return TrainedRows(ids.astype(np.int32, copy=False), factors, bias, **work)

    def _new(self, factors: Table, bias: Table, places: int) -> dict[str, Array]:
        """All of `TrainedRows` that is no table and no id; see there."""
        weight = factors.weight
        rows = len(weight)
        moving = np.zeros(rows, np.bool_)
        for remembered in (factors.first, factors.second, bias.first, bias.second):
            if len(remembered):
                moving |= np.any(remembered, axis=1)
        return {
            "done": np.zeros(rows, np.int64),
            "moving": moving,
            "slot": np.full(rows, -1, np.int32),
            "all_rows": np.arange(rows, dtype=np.int32),
            "rows": np.zeros(places, np.int32),
            "counts": np.zeros(places, self._counts),
            "factor_gradients": np.zeros((places, weight.shape[1]), weight.dtype),
            "bias_gradients": np.zeros((places, 1), weight.dtype),
        }

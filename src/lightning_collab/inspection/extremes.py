"""The lecture's view: best and worst by bias, and both ends of the main directions."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_collab.inspection.layout import principal_components

COMPONENTS = 3


class Ends(NamedTuple):
    """The rows at both ends of a scale.

    Attributes:
        name: of the scale.
        top: rows with the highest values, highest first; the last column, `value`, has them.
        bottom: rows with the lowest values, lowest first.
    """

    name: str
    top: pl.DataFrame
    bottom: pl.DataFrame


def extremes(
    described: pl.DataFrame,
    vectors: NDArray[np.float32],
    biases: NDArray[np.float32] | None,
    *,
    count: int = 10,
) -> list[Ends]:
    """Who is at the ends of the bias and of the first principal components.

    The bias is what is left of a film's rating when the tastes of those who rated it are
    accounted for: the films that people liked, or did not, whatever they usually like.

    Args:
        described: what to show of each row.
        vectors: float32 [n, factors], of the same rows.
        biases: float32 [n]; None where the model has none.
        count: rows at each end.

    Returns:
        `bias` where there is one, then `principal component 1` to `3`.
    """
    result = [] if biases is None else [_ends("bias", described, biases, count)]
    components = principal_components(vectors, COMPONENTS)
    for number in range(components.shape[1]):
        values = components[:, number].astype(np.float32)
        result.append(_ends(f"principal component {number + 1}", described, values, count))
    return result


def _ends(name: str, described: pl.DataFrame, values: NDArray[np.float32], count: int) -> Ends:
    order = np.argsort(-values, kind="stable")
    # Never the same row at both ends.
    count = min(count, len(order) // 2)
    table = described.with_columns(value=pl.Series(values))
    return Ends(name, table[order[:count]], table[order[::-1][:count]])

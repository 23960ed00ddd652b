"""The features of a model from a checkpoint alone."""

from collections.abc import Mapping
from typing import Literal

import polars as pl
from scipy.sparse import csr_array
from torch import Tensor

from lightning_collab.data.features import FeatureBlock, FeatureSet, TimeEffect


def saved_features(state: Mapping[str, Tensor]) -> FeatureSet:
    """What a model was told beside ids, as its buffers have it.

    Args:
        state: of the model, as its `state_dict` names it.

    Returns:
        At most one block a side, since the buffers hold all of a side in one; columns are
        numbered.
    """
    time = []
    for name in dict.fromkeys(
        key.split(".")[1] for key in state if key.startswith("time_effects.")
    ):
        prefix = f"time_effects.{name}."
        of_items, days, first_day, periods = state[prefix + "shape_"].tolist()
        of: Literal["users", "items"] = "items" if of_items else "users"
        keys = state[prefix + "keys"].cpu().numpy()
        time.append(TimeEffect(name, of, days, first_day, periods, keys))
    return FeatureSet(_block(state, "user"), _block(state, "item"), tuple(time))


def _block(state: Mapping[str, Tensor], side: str) -> tuple[FeatureBlock, ...]:
    prefix = f"{side}_features."
    if prefix + "indptr" not in state:
        return ()
    parts = [state[prefix + key].cpu().numpy() for key in ("values", "indices", "indptr")]
    width = int(state[prefix + "width_"])
    matrix = csr_array(tuple(parts), shape=(len(parts[2]) - 1, width))
    labels = pl.Series("label", [str(column) for column in range(width)])
    return (FeatureBlock("features", matrix, labels),)

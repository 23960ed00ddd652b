"""Rows of ids as people and files give them: numbers as text, floats, what is no id at all."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lightning_collab.data.vocabulary import Vocabulary

RawIds = pl.Series | Iterable[Any]


def rows_of_ids(vocabulary: Vocabulary, raw_ids: RawIds) -> NDArray[np.int32]:
    """Rows of the model, the unknown row for what is no id of it, whatever its type.

    Args:
        vocabulary: of users or items.
        raw_ids: n ids: a column, an array or a list, also of several types.

    Returns:
        int32 [n].
    """
    if isinstance(raw_ids, torch.Tensor):
        raw_ids = raw_ids.cpu().numpy()
    if isinstance(raw_ids, np.ndarray) and raw_ids.dtype != object:
        raw_ids = pl.Series(raw_ids)
    if not isinstance(raw_ids, pl.Series):
        raw_ids = pl.Series([_plain(each) for each in raw_ids], dtype=pl.String, strict=False)
    if raw_ids.dtype.is_float():
        # Ids that a missing value has once turned into floats; 1.5 is no id.
        whole = raw_ids.cast(pl.Int64, strict=False)
        raw_ids = whole.set(raw_ids != whole.cast(pl.Float64), None)
    elif raw_ids.dtype in (pl.Categorical, pl.Enum):
        raw_ids = raw_ids.cast(pl.String)
    elif not (raw_ids.dtype.is_integer() or raw_ids.dtype == pl.String):
        return np.zeros(len(raw_ids), dtype=np.int32)
    return vocabulary.encode(raw_ids)


def _plain(raw_id: Any) -> str | None:
    """An id as text; None for what is none."""
    if isinstance(raw_id, float) and raw_id.is_integer():
        return str(int(raw_id))
    if isinstance(raw_id, bool) or not isinstance(raw_id, str | int | np.integer):
        return None
    return str(raw_id)

"""The embeddings of one side of a model, as inspection wants them."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_collab.errors import InspectionError
from lightning_collab.inference.catalogue import Side
from lightning_collab.models import RatingModel


class SideEmbeddings(NamedTuple):
    """What a model has learned of its users or of its items; row `k` is of the k-th known id.

    Attributes:
        vectors: float32 [known ids, factors], on the processor.
        biases: float32 [known ids], on the processor; None where the model has none.
    """

    vectors: Tensor
    biases: Tensor | None


def side_embeddings(model: RatingModel, side: Side) -> SideEmbeddings:
    """A copy of the embeddings of users or items, without the unknown row.

    Args:
        model: any model of ratings.
        side: `users` or `items`.

    Raises:
        InspectionError: the model has no such embeddings.
    """
    tables = model.effective_tables()
    if side not in tables.get("embeddings", {}):
        raise InspectionError(
            f"{type(model).__name__} has no embeddings of {side}, so there is nothing to compare "
            "or to draw; use a run of another model"
        )
    vectors = tables["embeddings"][side][1:]
    biases = tables.get("biases", {}).get(side)
    return SideEmbeddings(
        vectors.to("cpu", torch.float32, copy=True),
        None if biases is None else biases[1:, 0].to("cpu", torch.float32, copy=True),
    )

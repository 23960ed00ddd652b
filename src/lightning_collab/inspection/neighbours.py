"""Nearest neighbours among embeddings, exactly."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lightning_collab.errors import InspectionError

Measure = Literal["cosine", "dot"]

CHUNK = 1024
"""Query rows whose scores are in memory at a time."""


class Neighbours(NamedTuple):
    """For each query the most similar others, best first.

    Attributes:
        rows: int64 [queries, k].
        similarities: float32 [queries, k].
    """

    rows: Tensor
    similarities: Tensor


def nearest(
    vectors: Tensor,
    queries: Tensor,
    k: int,
    *,
    measure: Measure = "cosine",
    among: Tensor | None = None,
) -> Neighbours:
    """The k most similar rows of each query, never the query itself.

    Similarity is <x, y> / (|x| |y|) for `cosine` (0 where a vector is zero) and <x, y> for `dot`.

    Args:
        vectors: float [n, factors].
        queries: int64 [queries], rows of `vectors`.
        k: how many; fewer are given where there are not so many others.
        measure: of similarity.
        among: bool [n], who may be a neighbour; None: everyone.

    Raises:
        InspectionError: there is no one else to compare with.
    """
    if measure == "cosine":
        vectors = torch.nn.functional.normalize(vectors, dim=1)
    allowed = torch.arange(len(vectors)) if among is None else among.nonzero().squeeze(1)
    candidates = vectors[allowed]
    # A query that is a candidate itself is left out, so there may be one fewer to choose from.
    k = min(k, len(allowed) - int(torch.isin(queries, allowed).any()))
    if k < 1:
        raise InspectionError("there is no one else to compare with; lower min_ratings")
    rows, similarities = [], []
    for part in torch.split(queries, CHUNK):
        scores = vectors[part] @ candidates.T
        scores[part[:, None] == allowed[None, :]] = -torch.inf
        best = scores.topk(k, dim=1)
        rows.append(allowed[best.indices])
        similarities.append(best.values)
    return Neighbours(torch.cat(rows), torch.cat(similarities))

"""Nearest neighbors among embeddings, exactly, and whether they share genres."""

from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lightning_collab.data.vocabulary import Side
from lightning_collab.errors import InspectionError
from lightning_collab.inspection.embeddings import side_embeddings
from lightning_collab.models.ease import EaseScores
from lightning_collab.training.trained_model import TrainedModel

Measure = Literal["cosine", "dot"]

# Query rows whose scores are in memory at a time.
CHUNK = 1024


class Neighbors(NamedTuple):
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
) -> Neighbors:
    """The k most similar rows of each query, never the query itself.

    Similarity is <x, y> / (|x| |y|) for `cosine` (0 where a vector is zero) and <x, y> for `dot`.

    Args:
        vectors: float [n, factors].
        queries: int64 [queries], rows of `vectors`.
        k: how many; fewer are given where there are not so many others.
        measure: of similarity.
        among: bool [n], who may be a neighbor; None: everyone.

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
    return Neighbors(torch.cat(rows), torch.cat(similarities))


def similar(
    run: TrainedModel,
    side: Side,
    row: int,
    *,
    top_k: int = 10,
    measure: Measure = "cosine",
    min_ratings: int = 20,
) -> pl.DataFrame:
    """The users or items whose embeddings are nearest to one of them; of EASE by its weights.

    Args:
        run: a trained run.
        side: `users` or `items`.
        row: of the model, whose neighbors are looked for.
        top_k: how many.
        measure: of similarity.
        min_ratings: training ratings that a neighbor must have.

    Returns:
        What is known of the neighbors, nearest first, with a column `similarity` (Float32). Of
        data without ratings there is no `mean_rating`.

    Raises:
        InspectionError: the model has no embeddings of that side, or nobody has enough ratings.
    """
    known = run.users if side == "users" else run.items
    if run.implicit:
        known = known.drop("mean_rating")
    if side == "items" and isinstance(run.item_scores, EaseScores):
        everything = torch.arange(1, len(known) + 1)
        # What it speaks for most, and not itself.
        weights = run.item_scores.alike(everything, torch.tensor([row]))[:, 0]
        weights[row - 1] = -torch.inf
        weights[torch.from_numpy((known["ratings"] < min_ratings).to_numpy().copy())] = -torch.inf
        best = weights.topk(min(top_k, int(weights.isfinite().sum())))
        similarity = pl.Series("similarity", best.values.numpy())
        return known[best.indices.numpy()].with_columns(similarity)
    near = nearest(
        side_embeddings(run.model, side).vectors,
        torch.tensor([row - 1]),
        top_k,
        measure=measure,
        among=torch.from_numpy((known["ratings"] >= min_ratings).to_numpy().copy()),
    )
    similarity = pl.Series("similarity", near.similarities[0].numpy())
    return known[near.rows[0].numpy()].with_columns(similarity)


NEIGHBORS = 10
MIN_RATINGS = 20


class Overlap(NamedTuple):
    """Genres shared with neighbors, beside chance.

    Attributes:
        nearest: mean Jaccard overlap with the nearest neighbors, 0 to 1.
        chance: mean Jaccard overlap of all pairs of the same films.
        films: how many films were compared.
    """

    nearest: float
    chance: float
    films: int

    @property
    def ratio(self) -> float:
        """How many times chance."""
        return self.nearest / self.chance

    @property
    def metrics(self) -> dict[str, float]:
        """By the names of metrics.json and of the curves."""
        return {
            "embeddings/genre_overlap": self.nearest,
            "embeddings/genre_overlap_chance": self.chance,
        }


class GenreOverlap:
    """Mean Jaccard overlap |A & B| / |A | B| of the genres of a film and of its neighbors.

    Only films with genres and with enough training ratings are compared, with one another: of the
    others a model knows too little. Neighbors are by cosine.

    Args:
        items: a row for each row of the embeddings, with `genres` and `ratings`.
        min_ratings: training ratings that a film must have.
        neighbors: how many nearest others count.
    """

    def __init__(
        self, items: pl.DataFrame, *, min_ratings: int = MIN_RATINGS, neighbors: int = NEIGHBORS
    ) -> None:
        self.neighbors = neighbors
        self._rows = torch.empty(0, dtype=torch.int64)
        if "genres" not in items.columns:
            return
        lists = items["genres"].fill_null([])
        enough = (items["ratings"] >= min_ratings) & (lists.list.len() > 0)
        self._rows = torch.from_numpy(np.flatnonzero(enough.to_numpy()))
        if self.possible:
            self._genres = _indicators(lists.filter(enough))
            self._chance = self._mean_of_all_pairs()

    @property
    def possible(self) -> bool:
        """Whether there are enough films with genres to speak of neighbors."""
        return len(self._rows) > self.neighbors

    def of(self, vectors: Tensor) -> Overlap:
        """Measure embeddings; only where `possible`.

        Args:
            vectors: float [n, factors], of the items that this was made with.
        """
        near = nearest(vectors[self._rows], torch.arange(len(self._rows)), self.neighbors).rows
        total = 0.0
        for films, others in zip(
            torch.split(self._genres, CHUNK), torch.split(near, CHUNK), strict=True
        ):
            shared = torch.einsum("fg,fkg->fk", films, self._genres[others])
            total += float(self._jaccard(films, shared, self._genres.sum(1)[others]).sum())
        return Overlap(total / near.numel(), self._chance, len(self._rows))

    @staticmethod
    def _jaccard(films: Tensor, shared: Tensor, sizes: Tensor) -> Tensor:
        return shared / (films.sum(1)[:, None] + sizes - shared)

    def _mean_of_all_pairs(self) -> float:
        """Over all pairs of different films."""
        total, count = 0.0, len(self._rows)
        for films in torch.split(self._genres, CHUNK):
            shared = films @ self._genres.T
            total += float(self._jaccard(films, shared, self._genres.sum(1)[None, :]).sum())
        return (total - count) / (count * (count - 1))  # each film with itself: 1


def _indicators(lists: pl.Series) -> Tensor:
    """float32 [films, genres]: 1 where a film has a genre."""
    names = {name: column for column, name in enumerate(lists.explode().unique().sort())}
    exploded = pl.DataFrame({"film": np.arange(len(lists)), "genre": lists}).explode("genre")
    result = torch.zeros(len(lists), len(names))
    columns = exploded["genre"].replace_strict(names, return_dtype=pl.Int64).to_numpy()
    result[torch.tensor(exploded["film"].to_numpy()), torch.tensor(columns)] = 1.0
    return result

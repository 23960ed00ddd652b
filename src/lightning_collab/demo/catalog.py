"""What the page offers of a run: items by names, the ones to begin with, and what stars mean."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch

from lightning_collab.api.trained_run import TrainedRun
from lightning_collab.errors import InspectionError
from lightning_collab.inspection.embeddings import side_embeddings
from lightning_collab.runs.text import printable

STARS = 5
# Of the most rated items, so many are put into an order that gives variety.
WELL_KNOWN = 40
# So many can be searched, the most rated; the browser holds them all.
SEARCHED = 20_000
# Training ratings that a shown item must have, unless the median of all items is lower.
ENOUGH = 20


@dataclass(frozen=True, eq=False)
class Catalog:
    """The items of a run as the page names and offers them.

    Attributes:
        run: the trained run.
        names: [items], on one line and each different.
        searched: positions in `run.items` of those with ratings, the most rated first.
        first: positions of well-known items, such that the first few differ.
    """

    run: TrainedRun
    names: list[str]
    searched: list[int]
    first: list[int]

    @classmethod
    def of(cls, run: TrainedRun) -> "Catalog":
        """What there is to offer.

        Args:
            run: the trained run.
        """
        ratings = run.items["ratings"].to_numpy()
        order = np.argsort(-ratings, kind="stable")[:SEARCHED]
        searched = order[ratings[order] > 0].tolist()
        return cls(run, _names(run), searched, _varied(run, searched[:WELL_KNOWN]))

    @property
    def stars(self) -> list[float]:
        """The rating that each number of stars stands for, from one star on."""
        low, high = self.run.rating_range
        if high == STARS and 0 <= low <= 1:
            return [1.0, 2.0, 3.0, 4.0, 5.0]
        ratings: list[float] = np.linspace(low, high, STARS).tolist()
        return ratings

    @property
    def enough_ratings(self) -> int:
        """Training ratings that a shown item has, unless somebody asks for another number."""
        return min(ENOUGH, int(np.median(self.run.items["ratings"].to_numpy())))

    @property
    def well_rated(self) -> int:
        """How many items have as many, and any."""
        ratings = self.run.items["ratings"].to_numpy()
        return int((ratings >= max(1, self.enough_ratings)).sum())


def as_text(name: object) -> str:
    """A name in a label that Streamlit reads as markdown, shown as it is.

    Args:
        name: a title, a path or a message.
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", printable(name))


def _names(run: TrainedRun) -> list[str]:
    ids = run.items["item"].to_list()
    titles = run.items["title"].to_list() if "title" in run.items.columns else [None] * len(ids)
    names = [printable(title or raw_id) for title, raw_id in zip(titles, ids, strict=True)]
    counts = Counter(names)
    return [
        f"{name} [{printable(raw_id)}]" if counts[name] > 1 else name
        for name, raw_id in zip(names, ids, strict=True)
    ]


def _varied(run: TrainedRun, known: list[int]) -> list[int]:
    """The most rated first, then each time the one that is least like those before it."""
    try:
        vectors = side_embeddings(run.model, "items").vectors[known]
    except InspectionError:
        return known
    cosines = torch.nn.functional.normalize(vectors, dim=1)
    cosines = cosines @ cosines.T
    nearest = torch.full((len(known),), -torch.inf)
    order: list[int] = []
    for _ in known:
        chosen = int(nearest.argmin()) if order else 0
        order.append(known[chosen])
        nearest = torch.maximum(nearest, cosines[chosen])
        nearest[chosen] = torch.inf
    return order

"""`data=club`: what the members of a film club thought, made up."""

from typing import Literal

import numpy as np
import polars as pl

from lightning_collab.config.data import DataConfig
from lightning_collab.data.rating_table import RatingTable

GENRES = ("Drama", "Comedy", "Horror")


class Club(DataConfig):
    """Each member likes one genre and nothing else."""

    name: Literal["club"] = "club"
    # How many.
    members: int = 60
    # How many.
    films: int = 45
    batch_size: int = 64
    cache: bool = False

    @property
    def has_timestamps(self):
        return False

    def load(self):
        random = np.random.RandomState(1)
        pairs = random.permutation(self.members * self.films)
        users, items = np.divmod(pairs[: len(pairs) * 3 // 4], self.films)
        liked = users % 3 == items % 3
        ratings = (np.where(liked, 4.5, 2.0) + 0.7 * random.normal(size=len(users))).clip(1, 5)
        films = pl.DataFrame(
            {
                "item": range(self.films),
                "title": [f"Film {k} ({1950 + k})" for k in range(self.films)],
                "genres": [[GENRES[k % 3]] for k in range(self.films)],
            }
        )
        return RatingTable.of_checked(
            pl.DataFrame({"user": users, "item": items, "rating": ratings.round()}),
            name="the film club",
            rating_range=(1.0, 5.0),
            item_features=films,
        )

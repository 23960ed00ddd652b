"""What a model must know of the ratings before it can be built."""

from typing import NamedTuple

from lightning_collab.data.features import FeatureBlock, TimeEffect


class RatingFacts(NamedTuple):
    """What a model must know of the ratings before it can be built.

    Attributes:
        user_rows: known users and the unknown row.
        item_rows: known items and the unknown row.
        rating_range: lowest and highest rating that the scale allows.
        mean_rating: of the training ratings.
        user_features: blocks with `user_rows` rows each.
        item_features: blocks with `item_rows` rows each.
        time_effects: of users and items by period.
    """

    user_rows: int
    item_rows: int
    rating_range: tuple[float, float]
    mean_rating: float
    user_features: tuple[FeatureBlock, ...] = ()
    item_features: tuple[FeatureBlock, ...] = ()
    time_effects: tuple[TimeEffect, ...] = ()

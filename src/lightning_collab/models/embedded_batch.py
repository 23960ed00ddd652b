"""What the tables of a model and its features say of a batch."""

from typing import NamedTuple

from torch import Tensor

from lightning_collab.models.feature_rows import SelectedRows

Rows = dict[str, tuple[Tensor, Tensor]]
"""For each group of tables: float [n, width] of users and of items."""


class EmbeddedBatch(NamedTuple):
    """What the tables of a model and its features say of a batch of B ratings.

    Attributes:
        rows: of users and items, features included: what the ratings are computed from.
        own: the same without features: the rows of the ids alone.
        features: of `users` and `items`, where the model has any.
        effects: float [B, effects], what each effect of time adds to the rating's raw number; None
            where there is none.
    """

    rows: Rows
    own: Rows
    features: dict[str, SelectedRows]
    effects: Tensor | None

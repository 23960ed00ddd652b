"""A trained model without what only training needs: tables of effective rows, and a formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lightning_collab.data.batches import RatingBatch
from lightning_collab.inference.item_scores import Tables
from lightning_collab.models import BayesianFactors, RatingModel

if TYPE_CHECKING:
    from lightning_collab.inference.trained_run import TrainedRun


class ExportedModel(nn.Module):
    """Rows of a user and an item -> a rating on the scale.

    What features add to a row is in the tables; effects of time are left out, as of a day that is
    not known.

    Args:
        run: the trained run.

    Attributes:
        tables: for each group, float32 [rows, width] of `users` and of `items`.
        rating_range: lowest and highest rating, to which predictions are clamped.
    """

    def __init__(self, run: TrainedRun) -> None:
        super().__init__()
        self.tables = {
            group: {side: table.float().contiguous() for side, table in sides.items()}
            for group, sides in exported_tables(run.model).items()
        }
        for group, sides in self.tables.items():
            for side, table in sides.items():
                self.register_buffer(f"{side}_{group}", table)
        self.rating_range = run.rating_range
        self.model = run.model

    def forward(self, user_row: Tensor, item_row: Tensor) -> Tensor:
        """Predicted ratings, float32 [n].

        Args:
            user_row: int64 [n]; 0: not known.
            item_row: int64 [n]; 0: not known.
        """
        rows = {
            group: (
                nn.functional.embedding(user_row, getattr(self, f"users_{group}")),
                nn.functional.embedding(item_row, getattr(self, f"items_{group}")),
            )
            for group in self.tables
        }
        batch = RatingBatch(user_row, item_row, user_row.float())
        return self.model.rate(rows, batch).clamp(*self.rating_range)

    def further_weights(self) -> dict[str, Tensor]:
        """What the formula needs beside the tables: layers and constants."""
        found = {}
        for name, module in self.model.named_children():
            if name in NOT_NEEDED or name.endswith(("_factors", "_bias", "_biases")):
                continue
            found.update({f"{name}.{key}": value for key, value in module.state_dict().items()})
        if isinstance(self.model, BayesianFactors):
            found["mean_rating"] = self.model.mean_rating
        return found


NOT_NEEDED = ("user_features", "item_features", "time_effects")
"""Parts of a model that have gone into the tables, or are left out."""


def exported_tables(model: RatingModel) -> Tables:
    """The tables from which a model's formula gives its predictions.

    Args:
        model: a trained one. Of one that averages over samples, the factors of all samples stand
            side by side, so that one dot product is the mean of those of the samples.
    """
    tables = model.effective_tables()
    if isinstance(model, BayesianFactors) and int(model.kept):
        count = int(model.kept)
        tables["embeddings"] = {
            side: samples[:count, :, 1:].transpose(0, 1).flatten(1) * share
            for side, samples, share in (
                ("users", model.user_samples, 1 / count),
                ("items", model.item_samples, 1.0),
            )
        }
    return {
        group: {side: torch.as_tensor(table).detach() for side, table in sides.items()}
        for group, sides in tables.items()
    }
